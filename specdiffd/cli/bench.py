"""``specdiffd bench``: speed on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from specdiffd.cli.options import Device, Dtype, Instrument, JsonFlag
from specdiffd.cli.output import readable, show

if TYPE_CHECKING:
    from specdiffd.instruments.builtin import SpectrogramInstrument

app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine.")
Repeats = Annotated[int, typer.Option(help="How many to measure.", min=5)]
Revisions = Annotated[int, typer.Option(help="How many to measure, of each kind.", min=5)]
Polyphony = Annotated[int, typer.Option(help="Notes that are held.", min=1, max=60)]
RevisionFrames = Annotated[int | None, typer.Option("--frames", help="Frames of a revision; default: the engine's.", min=1, max=128)]
DecoderFrames = Annotated[int, typer.Option("--frames", help="Frames that are sampled.", min=1, max=255)]
VocoderFrames = Annotated[int, typer.Option("--frames", help="Frames of the short stretch.", min=1, max=64)]
Steps = Annotated[int | None, typer.Option(help="Steps of the sampler; default: the instrument's.", min=1)]
RandomWeights = Annotated[bool, typer.Option("--random-weights", help="The instrument's shapes with untrained weights.")]
Threads = Annotated[int | None, typer.Option(help="Threads of the networks; default: as many as cores.", min=1)]


@app.command("latency")
def latency(
    instrument: Instrument = "builtin",
    revisions: Repeats = 200,
    polyphony: Polyphony = 8,
    frames: RevisionFrames = None,
    steps: Steps = None,
    random_weights: RandomWeights = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    as_json: JsonFlag = False,
) -> None:
    """The stages of one revision, from the event to its splices."""
    from specdiffd.base.instrument import RenderSettings
    from specdiffd.bench.latency import bench_latency
    from specdiffd.player.settings import EngineSettings

    loaded = _load(instrument, device, dtype, settings=RenderSettings(steps=steps), random_weights=random_weights, threads=threads)
    engine = EngineSettings()
    result = bench_latency(loaded, replace(engine, urgent_frames=frames or engine.urgent_frames), revisions, polyphony)
    show(result, _latency_lines(result), as_json)


def _load(instrument: str, device: str, dtype: str, **options: Any) -> SpectrogramInstrument:
    from specdiffd.instruments.loading import load_builtin_family, pick_device

    return load_builtin_family(instrument, pick_device(device), dtype, **options)


def _latency_lines(result: dict[str, Any]) -> list[str]:
    """The times of a revision, and a bar for each of its stages."""
    head = (
        f"revision of {result['urgent_frames']} frames: first splice after p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms, "
        f"last splice after p50 {result['whole_p50_ms']} ms, pieces of work p95 {result['piece_p95_ms']} ms "
        f"({result['dtype']}, {result['steps']} steps)"
    )
    return [head, *(f"  {name:20s} {ms:6.2f} ms  {'#' * round(4 * ms)}" for name, ms in result["waterfall_p50_ms"].items())]


@app.command("engine")
def engine(
    instrument: Instrument = "builtin",
    revisions: Revisions = 40,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Revisions by polyphony, notes in the window, and frames."""
    from specdiffd.bench.latency import bench_engine
    from specdiffd.player.settings import EngineSettings

    result = bench_engine(_load(instrument, device, dtype), EngineSettings(), revisions)
    lines = (
        f"{row['polyphony']:3d} notes held, {row['notes_in_window']:3d} in the window, {row['frames']:3d} frames: "
        f"p50 {row['p50_ms']:6.2f} ms, p99 {row['p99_ms']:6.2f} ms"
        for row in result["rows"]
    )
    show(result, lines, as_json)


@app.command("decoder")
def decoder(
    instrument: Instrument = "builtin",
    frames: DecoderFrames = 24,
    repeats: Repeats = 50,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: JsonFlag = False,
) -> None:
    """One decoder step on a stretch whose past is cached, and on the whole window: what causality saves."""
    from specdiffd.bench.networks import bench_decoder

    result = bench_decoder(_load(instrument, device, dtype, graphs=False), frames, repeats)
    show(result, readable(result), as_json)


@app.command("vocoder")
def vocoder(
    instrument: Instrument = "builtin",
    frames: VocoderFrames = 26,
    repeats: Repeats = 50,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: JsonFlag = False,
) -> None:
    """The vocoder alone: a short stretch, and seconds of computing per second of audio."""
    from specdiffd.bench.networks import bench_vocoder

    result = bench_vocoder(_load(instrument, device, dtype), frames, repeats)
    show(result, readable(result), as_json)
