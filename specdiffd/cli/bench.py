"""``specdiffd bench``: speed on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from specdiffd.cli.options import Device, Dtype, Instrument, JsonFlag
from specdiffd.cli.output import readable, show

app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine.")
Repeats = Annotated[int, typer.Option(help="How many to measure.", min=5)]


@app.command("latency")
def latency(
    instrument: Instrument = "builtin",
    revisions: Repeats = 200,
    polyphony: Annotated[int, typer.Option(help="Notes held meanwhile.", min=1, max=60)] = 8,
    frames: Annotated[int | None, typer.Option(help="Frames of a revision; default: the engine's.", min=1, max=128)] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler; default: the instrument's.", min=1)] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="The instrument's shapes with untrained weights.")] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the networks; default: as many as cores.", min=1)] = None,
    as_json: JsonFlag = False,
) -> None:
    """One revision, from the event to its splices, taken apart."""
    from specdiffd.base.instrument import RenderSettings
    from specdiffd.bench.latency import bench_latency
    from specdiffd.instruments.loading import load_builtin_family, pick_device
    from specdiffd.player.settings import EngineSettings

    settings = RenderSettings(steps=steps)
    loaded = load_builtin_family(instrument, pick_device(device), dtype, settings, random_weights, threads)
    engine = EngineSettings()
    result = bench_latency(loaded, replace(engine, urgent_frames=frames or engine.urgent_frames), revisions, polyphony)
    show(result, _latency_lines(result), as_json)


def _latency_lines(result: dict[str, Any]) -> list[str]:
    """The times of a revision, and a bar for each of its stages."""
    head = (
        f"revision of {result['urgent_frames']} frames: heard of after p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms, "
        f"finished after p50 {result['whole_p50_ms']} ms, in pieces of p95 {result['piece_p95_ms']} ms ({result['dtype']}, {result['steps']} steps)"
    )
    return [head, *(f"  {name:20s} {ms:6.2f} ms  {'#' * round(4 * ms)}" for name, ms in result["waterfall_p50_ms"].items())]


@app.command("engine")
def engine(
    instrument: Instrument = "builtin",
    revisions: Annotated[int, typer.Option(help="Of each kind.", min=5)] = 40,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Revisions by polyphony, fullness of the window and length of the stretch."""
    from specdiffd.bench.latency import bench_engine
    from specdiffd.instruments.loading import load_builtin_family, pick_device
    from specdiffd.player.settings import EngineSettings

    result = bench_engine(load_builtin_family(instrument, pick_device(device), dtype), EngineSettings(), revisions)
    lines = (
        f"{row['polyphony']:3d} notes held, {row['notes_in_window']:3d} in the window, {row['frames']:3d} frames: "
        f"p50 {row['p50_ms']:6.2f} ms, p99 {row['p99_ms']:6.2f} ms"
        for row in result["rows"]
    )
    show(result, lines, as_json)


@app.command("decoder")
def decoder(
    instrument: Instrument = "builtin",
    frames: Annotated[int, typer.Option(help="Frames that are sampled.", min=1, max=255)] = 24,
    repeats: Repeats = 50,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: JsonFlag = False,
) -> None:
    """What causality saves: one decoder step on a stretch whose past is cached, and on the whole window."""
    from specdiffd.bench.latency import bench_decoder
    from specdiffd.instruments.loading import load_builtin_family, pick_device

    result = bench_decoder(load_builtin_family(instrument, pick_device(device), dtype, graphs=False), frames, repeats)
    show(result, readable(result), as_json)


@app.command("vocoder")
def vocoder(
    instrument: Instrument = "builtin",
    frames: Annotated[int, typer.Option(help="Frames of the short stretch.", min=1, max=64)] = 26,
    repeats: Repeats = 50,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: JsonFlag = False,
) -> None:
    """The vocoder alone: a short stretch, and seconds of compute per second of audio."""
    from specdiffd.bench.latency import bench_vocoder
    from specdiffd.instruments.loading import load_builtin_family, pick_device

    result = bench_vocoder(load_builtin_family(instrument, pick_device(device), dtype), frames, repeats)
    show(result, readable(result), as_json)
