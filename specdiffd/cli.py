"""The command line. Imports what a command needs when it runs: --help needs neither torch nor PortAudio."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from specdiffd import __version__
from specdiffd.errors import ControlError, SpecdiffdError, UsageError
from specdiffd.text import clipped, printable, told

LONGEST_TIMEOUT_S = 3600  # of a reply; beyond some weeks, in milliseconds, libzmq would take it for another number

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A live neural synthesizer: plays MIDI through Spectrogram Diffusion.",
)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
ConfigOption = Annotated[
    Path | None, typer.Option("-c", "--config", help="A config.yaml; default: ~/.config/specdiffd/config.yaml if it is there.")
]
Overrides = Annotated[list[str] | None, typer.Option("-o", "--set", metavar="SECTION.KEY=VALUE", help="Override a configuration key.")]


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"specdiffd {__version__}")
        raise typer.Exit


@app.command()
def run(
    config: ConfigOption = None,
    overrides: Overrides = None,
    fake: Annotated[bool, typer.Option("--fake", help="Play sines instead of an instrument.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Where there is no audio device, wait for one instead of ending.")] = False,
) -> None:
    """Run the daemon until it is told to stop."""
    from specdiffd.config import load_config, user_config
    from specdiffd.daemon import run as run_daemon
    from specdiffd.logs import set_up_logging

    loaded = load_config(config or user_config(), overrides or ())
    set_up_logging(loaded.logging.level)
    run_daemon(loaded, fake, wait)


@app.command(context_settings={"ignore_unknown_options": True})
def ctl(
    verb: Annotated[str, typer.Argument(help="ping status panic note_on note_off program midi gain set get shutdown")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARG ...]", help="In the order of the command's fields, or name=value.")
    ] = None,
    endpoint: Annotated[str, typer.Option("--endpoint", help="Where the daemon listens.")] = "auto",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the reply.")] = 5.0,
    as_json: JsonFlag = False,
) -> None:
    """Send one request to the running daemon: specdiffd ctl note_on 60 100."""
    from specdiffd.control.address import address
    from specdiffd.control.client import ControlClient, await_server

    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise UsageError(f"--timeout {timeout_s}: expected seconds, more than 0 and {LONGEST_TIMEOUT_S} at most")
    values = _ctl_arguments(verb, arguments or [])
    found = address("--endpoint", endpoint, "control")
    await_server(found, endpoint == "auto", timeout_s)
    with ControlClient(found.text, timeout_s) as client:
        result = client.call(verb, **values)
    for line in _ctl_lines(result, as_json):
        typer.echo(line)


def _ctl_arguments(verb: str, given: list[str]) -> dict[str, Any]:
    """Words to typed arguments.

    Raises:
        UsageError: an unknown verb or too many words.
        ConfigError: a word that is no value.
    """
    import difflib

    from specdiffd.control.protocol import COMMANDS

    if verb not in COMMANDS:
        near = difflib.get_close_matches(verb, COMMANDS, n=1)
        raise UsageError(f"unknown verb {verb!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"))
    fields = COMMANDS[verb].__struct_fields__
    values: dict[str, Any] = {}
    for word in given:
        name, equals, text = word.partition("=")
        if equals and name in fields:
            values[name] = _ctl_value(word, text)
            continue
        rest = [f for f in fields if f not in values]
        if not rest:
            raise UsageError(f"{verb} takes {', '.join(fields) or 'no arguments'}; {word!r} is too much")
        values[rest[0]] = _ctl_value(word, word)
    return values


def _ctl_value(word: str, text: str) -> Any:
    """Raises: ConfigError: it is none."""
    from specdiffd.config import parse_yaml

    return parse_yaml(text, f"argument {clipped(word, 100)!r}")


def _ctl_lines(result: Any, as_json: bool) -> list[str]:
    """A result from the wire, in lines without anything that a terminal would obey.

    Raises:
        ControlError: it is nested too deeply to be printed.
    """
    try:
        if as_json:
            return json.dumps(result, indent=2).splitlines()  # in ASCII, all else escaped
        lines = _readable(result) if isinstance(result, dict) else [] if result is None else [str(result)]
    except RecursionError as error:
        raise ControlError("bad_reply", "the reply is nested too deeply to be printed") from error
    return [printable(line) for line in lines]


def _show(value: Any, lines: Iterable[str], as_json: bool) -> None:
    """One JSON value for programs, or lines for people."""
    if as_json:
        typer.echo(json.dumps(value))
    for line in lines if not as_json else ():
        _say(line)


def _say(line: str, err: bool = False) -> None:
    """A line for people: names of files, ports and devices in it are somebody else's."""
    typer.echo(printable(line), err=err)


def _readable(value: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += _readable(item, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}: {item}")
    return lines


@app.command()
def ports(
    api: Annotated[str, typer.Option("--api", help="auto, jack, alsa, coreaudio or winmm.")] = "auto", as_json: JsonFlag = False
) -> None:
    """List the MIDI ports that could be connected to."""
    from specdiffd.io.ports import list_ports

    names = list_ports(api)
    _show(names, names or ["no MIDI ports"], as_json)


@app.command()
def devices(as_json: JsonFlag = False) -> None:
    """List the audio devices that can be played to."""
    from specdiffd.io.devices import list_devices

    found = list_devices()
    lines = [f"{d['index']:3d}  {d['name']}  ({d['host_api']}, {d['channels']} channels, {d['sample_rate_hz']:.0f} Hz)" for d in found]
    _show(found, lines or ["no audio devices (audio.device=wav:PATH writes a file, null plays to nobody)"], as_json)


InstrumentOption = Annotated[
    str, typer.Option("-m", "--instrument", help="builtin, the directory of a checkpoint, or a hub id that was pulled.")
]


@app.command()
def tokens(
    songs: Annotated[list[Path], typer.Argument(metavar="SONG.mid ...")],
    instrument: InstrumentOption = "builtin",
    strict: Annotated[bool, typer.Option("--strict", help="Refuse MIDI files with anything wrong in them.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a MIDI file as the instrument's tokens: one list of ids per window, without padding."""
    from specdiffd.formats import MelFormat
    from specdiffd.layout import (
        CONFIG,
        DECODER,
        INDEX,
        NOTES_ENCODER,
        PUBLISHED_CLASS,
        WindowLength,
        checkpoint_folder,
        read_config,
        read_json,
    )
    from specdiffd.midi.file import read_song
    from specdiffd.midi.published import published_performance
    from specdiffd.midi.score import Score
    from specdiffd.tokens.codec import Codec
    from specdiffd.tokens.window import song_windows

    folder = checkpoint_folder(instrument)
    codec = read_config(folder / NOTES_ENCODER / CONFIG, Codec, "codec")
    frames = read_config(folder / DECODER / CONFIG, WindowLength).targets_length
    fmt = read_config(folder / INDEX, MelFormat, "mel_format")
    published = read_json(folder / INDEX).get("_class_name") == PUBLISHED_CLASS
    for path in songs:
        song = read_song(path, strict)
        for warning in song.warnings:
            _tell(f"specdiffd: {printable(warning)}")
        performance = published_performance(path) if published else Score().extend(song.events).performance._replace(length_s=song.end_s)
        windows = list(song_windows(performance, fmt, frames, codec))
        dropped = sum(w.dropped_events for w in windows)
        if dropped:
            _tell(f"{path}: {dropped} events do not fit in {codec.max_tokens} tokens and were left out")
        if as_json:
            typer.echo(json.dumps([w.ids for w in windows]))
            continue
        for number, window in enumerate(windows):
            typer.echo(f"window {number}: {' '.join(codec.name(t) for t in window.ids)}")


@app.command()
def render(
    songs: Annotated[list[Path], typer.Argument(metavar="SONG.mid|DIR ...", help="MIDI files, or folders of them.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="A .wav, .flac or .ogg file, - for standard output (WAV), or a folder; default: beside each song."
        ),
    ] = None,
    instrument: InstrumentOption = "builtin",
    scheduler: Annotated[str | None, typer.Option(help="ddpm, ddim or dpmsolver++, for published checkpoints; default: theirs.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the sampler; default: the instrument's (published checkpoints: 100).", min=1)
    ] = None,
    guidance: Annotated[float, typer.Option(help="Weight of classifier-free guidance; the paper's notebook has 2.", min=0, max=20)] = 1.0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal sound.", min=0)] = 0,
    mel: Annotated[Path | None, typer.Option(help="Also write the log mel [1, frames, bins] of one song to this .npy file.")] = None,
    device: Annotated[str, typer.Option(help="A torch device; auto takes the GPU if there is one.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    rate: Annotated[
        int | None, typer.Option(help="Sample rate of the file in Hz; default: the instrument's.", min=8000, max=192000)
    ] = None,
    gain_db: Annotated[float, typer.Option(help="Gain in dB.")] = 0.0,
    reverb: Annotated[float, typer.Option(help="Level of a small room, 0 (none) to 1; the file is stereo then.", min=0, max=1)] = 0.0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse MIDI files with anything wrong in them.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Render MIDI files to sound files. What cannot be rendered is named at the end, and the exit code is 1 then."""
    from specdiffd.audio.files import STANDARD_OUTPUT
    from specdiffd.midi.file import read_song

    if len(songs) == 1 and songs[0].is_file():
        read_song(songs[0], strict)  # what cannot be read is refused before anything large is loaded
    from specdiffd.batch import check, describe, find_songs, plan, render_jobs
    from specdiffd.render import RenderSettings

    if output == STANDARD_OUTPUT and as_json:
        raise UsageError("-o - and --json both go to standard output: leave one out")
    jobs = plan(find_songs(songs), output, force, mel)
    if len(jobs) == 1:
        check(jobs[0], force)
    from specdiffd.instrument import RenderSettings as InstrumentSettings
    from specdiffd.loading import load_instrument, pick_device

    settings = InstrumentSettings(seed=seed, steps=steps, scheduler=scheduler, guidance=guidance)
    loaded = load_instrument(instrument, pick_device(device), dtype, settings)
    outcomes = []
    with _progress(not as_json, "s") as progress:
        for outcome in render_jobs(
            loaded, jobs, RenderSettings(rate, 10 ** (gain_db / 20), reverb), strict, partial(_song_progress, progress)
        ):
            for warning in outcome.warnings:
                _tell(f"specdiffd: {printable(warning)}")
            outcomes.append(outcome)
    rows = [describe(outcome) for outcome in outcomes]
    if as_json:
        typer.echo(json.dumps(rows))
    for row in rows if not as_json else ():
        if "path" in row:
            line = f"{row['path']}: {row['duration_s']} s, real-time factor {row['real_time_factor']}, peak {row['peak']}"
            _say(line, output == STANDARD_OUTPUT)
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(jobs) == 1 and failed:
        raise failed[0]
    if failed:
        _tell(f"specdiffd: {len(failed)} of {len(jobs)} songs were not rendered:")
        for error in failed:
            _tell(f"specdiffd: {told(error)}")
        raise typer.Exit(SpecdiffdError.exit_code)


@contextmanager
def _song_progress(progress: Any, name: str, seconds: float) -> Iterator[Callable[[float], None]]:
    """A song's bar."""
    task = progress.add_task(name, total=max(seconds, 1e-3))
    yield partial(_advance, progress, task)
    progress.update(task, completed=progress.tasks[task].total)


@app.command()
def evaluate(
    songs: Annotated[list[Path], typer.Argument(metavar="SONG.mid|DIR ...", help="MIDI files to play in several instrumentations.")],
    instrument: InstrumentOption = "builtin",
    limit: Annotated[int, typer.Option(help="How many of the songs.", min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="Of each song.", min=5)] = 24.0,
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="notes|sounds|bursts|honesty", help="Only these parts; may be given more than once."),
    ] = None,
    ablate: Annotated[bool, typer.Option("--ablate", help="Notes: also leave out one part of the instrument after the other.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write a page with the tables and spectrograms there.")] = None,
    soundfont: Annotated[str, typer.Option(help="The reference: fluid, musescore or a file.")] = "fluid",
    device: Annotated[str, typer.Option()] = "auto",
    dtype: Annotated[str, typer.Option()] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Compare the instrument with FluidSynth playing the same (needs specdiffd[evaluate] and basic-pitch): the right notes,
    single sounds (program, loudness, onset, drums, brightness), bursts, and whether spectrograms are more than a blurred mean."""
    from specdiffd.batch import find_songs
    from specdiffd.evaluate.bursts import PROGRAMS, evaluate_bursts
    from specdiffd.evaluate.honesty import MODELS, evaluate_honesty
    from specdiffd.evaluate.notes import ABLATION, ALWAYS, Row, evaluate_notes, table
    from specdiffd.evaluate.pieces import test_set
    from specdiffd.evaluate.rendering import Renderers
    from specdiffd.evaluate.report import write_report
    from specdiffd.evaluate.sounds import evaluate_sounds
    from specdiffd.loading import load_builtin_family, pick_device

    known = ("notes", "sounds", "bursts", "honesty")
    if unknown := set(parts or ()) - set(known):
        raise UsageError(f"unknown part {', '.join(sorted(unknown))}: expected {', '.join(known)}")
    found = find_songs(songs)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
    pieces = test_set(found[:: max(1, len(found) // limit)][:limit], seconds)
    renderers = Renderers(load_builtin_family(instrument, pick_device(device), dtype), soundfont)
    variants = ABLATION if ablate else {}
    figures: dict[str, Any] = {}
    rows: list[Row] = []
    wanted = parts or known
    work = {
        "notes": len(pieces) * (len(ALWAYS) + len(variants)),
        "sounds": 5,
        "bursts": PROGRAMS,
        "honesty": len(pieces) * (len(MODELS) + 1),
    }
    with _progress(not as_json, "renderings and measures") as progress:
        task = progress.add_task("evaluating", total=sum(work[part] for part in wanted))

        def step() -> None:
            progress.advance(task)

        if "notes" in wanted:
            rows = list(evaluate_notes(renderers, pieces, seconds, variants, step))
            figures["notes"] = table(rows)
        if "sounds" in wanted:
            figures |= evaluate_sounds(renderers, step)
        if "bursts" in wanted:
            figures["bursts"] = evaluate_bursts(renderers, step)
        if "honesty" in wanted:
            figures["honesty"] = evaluate_honesty(renderers, pieces, seconds, step)
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        _show_figures(figures)
    if report is not None:  # last: what has taken so long has been shown
        page = write_report(report, figures, rows, renderers.rate_hz)
        if not as_json:
            _say(f"report: {page}")


def _show_figures(figures: Mapping[str, Any]) -> None:
    """Figures as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, content in figures.items():
        models = content.get("models", {}) if isinstance(content, Mapping) else {}  # what is compared
        rows = content if isinstance(content, list) else [{"": key, **values} for key, values in models.items()]
        if rows:
            shown = Table(*(column.replace("_", " ") for column in rows[0]), title=name)
            for row in rows:
                shown.add_row(*(f"{v:.3f}" if isinstance(v, float) else "" if v is None else str(v) for v in row.values()))
            console.print(shown)
        if isinstance(content, Mapping):
            plain = {key: value for key, value in content.items() if key != "models"}
            console.print(name, {key: round(v, 3) if isinstance(v, float) else v for key, v in plain.items()})


@app.command()
def train(
    stages: Annotated[
        list[str] | None,
        typer.Argument(metavar="[prior|colours|decoder|reflow|vocoder ...]", help="What to train, in this order; default: all but reflow."),
    ] = None,
    run: Annotated[Path, typer.Option("--run", help="Folder of the run; one that holds a run is resumed.")] = Path("runs/builtin"),
    minutes: Annotated[float, typer.Option(help="Of the stages together, over all sessions.", min=0.1)] = 240.0,
    songs: Annotated[
        list[Path] | None, typer.Option(metavar="SONG.mid|DIR", help="MIDI files to draw from; default: generated music only.")
    ] = None,
    held_out: Annotated[int, typer.Option(help="How many of the songs, the last in order of name, not to learn from.", min=0)] = 0,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="Of the mel: full-band (48 kHz) or published (16 kHz); default: that of --start, else full-band."),
    ] = None,
    start: Annotated[str | None, typer.Option(metavar="INSTRUMENT", help="builtin or a checkpoint: begin with its weights.")] = None,
    batch: Annotated[int | None, typer.Option(help="Examples per step; default: what two cores handle.", min=1)] = None,
    pieces: Annotated[int, typer.Option(help="Rendered half minutes held in memory.", min=1)] = 200,
    adversarial_from: Annotated[float, typer.Option(help="Share of the vocoder's time without discriminators.", min=0, max=1)] = 0.45,
    soundfont: Annotated[
        list[str] | None, typer.Option(help="fluid, musescore or a file; several are mixed (colours are the first one's).")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch; default: as many as cores.", min=1)] = None,
    device: Annotated[str, typer.Option(help="A torch device; auto takes the GPU if there is one.")] = "auto",
) -> None:
    """Train an instrument on FluidSynth's sound (needs specdiffd[train], FluidSynth and a soundfont)."""
    import torch

    from specdiffd.batch import find_songs
    from specdiffd.formats import FORMATS
    from specdiffd.layout import checkpoint_folder
    from specdiffd.loading import pick_device
    from specdiffd.logs import set_up_logging
    from specdiffd.train.stages import STAGES, USUAL
    from specdiffd.train.stages import train as train_stages

    chosen = stages or list(USUAL)
    for stage in chosen:
        if stage not in STAGES:
            raise UsageError(f"unknown stage {stage!r}; there are {', '.join(STAGES)}")
    if format_name not in (None, *FORMATS):
        raise UsageError(f"unknown format {format_name!r}; there are {', '.join(FORMATS)}")
    found = find_songs(songs or ())
    if held_out >= len(found) > 0:
        raise UsageError(f"--held-out {held_out} leaves none of {len(found)} songs to learn from")
    if threads:
        torch.set_num_threads(threads)
    set_up_logging("info")
    checkpoint = train_stages(
        run,
        chosen,
        found[: len(found) - held_out],
        minutes=minutes,
        format_name=format_name,
        start=None if start is None else checkpoint_folder(start),
        pieces=pieces,
        batch=batch,
        adversarial_from=adversarial_from,
        device=pick_device(device),
        soundfonts=soundfont or ("fluid",),
    )
    _say(f"{checkpoint}: try it with specdiffd render SONG.mid -m {checkpoint}" if checkpoint.exists() else f"{run}: no checkpoint yet")


instruments_app = typer.Typer(no_args_is_help=True, help="Instruments: what is here, what they are made of, pulling, converting.")
app.add_typer(instruments_app, name="instruments")


@instruments_app.command("list")
def instruments_list(as_json: JsonFlag = False) -> None:
    """The built-in instrument and the checkpoints pulled from the hub."""
    from specdiffd.hub import list_instruments

    rows = list_instruments()
    _show(rows, (f"{row['name']}  ({row['kind']}, {row['bytes'] / 1e6:.0f} MB)  {row['folder']}" for row in rows), as_json)


@instruments_app.command("info")
def instruments_info(name: Annotated[str, typer.Argument(metavar="NAME")] = "builtin", as_json: JsonFlag = False) -> None:
    """What an instrument is made of; loads it, so damage is found out."""
    from specdiffd.hub import describe

    info = describe(name)
    _show(info, _readable(info), as_json)


@instruments_app.command("pull")
def instruments_pull(
    hub_id: Annotated[str, typer.Argument(metavar="OWNER/NAME")],
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit, to be played by the folder that is shown; default: main.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Fetch a checkpoint from the hub into its shared cache (HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE are honoured)."""
    from specdiffd.hub import pull

    folder = pull(hub_id, revision)
    _show({"name": hub_id, "folder": str(folder)}, [f"{hub_id}: {folder}"], as_json)


@instruments_app.command("convert")
def instruments_convert(
    name: Annotated[str, typer.Argument(metavar="NAME", help="builtin, a hub id that was pulled, or a directory.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The new checkpoint.")],
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
) -> None:
    """Write a checkpoint again as safetensors of another precision, which loads by mapping the file."""
    from specdiffd.hub import convert

    _say(f"{convert(name, out, dtype)}: play it with specdiffd run -o instrument.name={out}")


bench_app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine.")
app.add_typer(bench_app, name="bench")


@bench_app.command()
def latency(
    instrument: InstrumentOption = "builtin",
    revisions: Annotated[int, typer.Option(help="How many to measure.", min=5)] = 200,
    polyphony: Annotated[int, typer.Option(help="Notes held meanwhile.", min=1, max=60)] = 8,
    frames: Annotated[int | None, typer.Option(help="Frames of a revision; default: the engine's.", min=1, max=128)] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler; default: the instrument's.", min=1)] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="The instrument's shapes with untrained weights.")] = False,
    device: Annotated[str, typer.Option()] = "auto",
    dtype: Annotated[str, typer.Option()] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the networks; default: as many as cores.", min=1)] = None,
    as_json: JsonFlag = False,
) -> None:
    """One revision, from the event to its splices, taken apart."""
    from dataclasses import replace

    from specdiffd.bench.latency import bench_latency
    from specdiffd.engine import EngineSettings
    from specdiffd.instrument import RenderSettings
    from specdiffd.loading import load_builtin_family, pick_device

    settings = RenderSettings(steps=steps)
    loaded = load_builtin_family(instrument, pick_device(device), dtype, settings, random_weights, threads)
    engine = EngineSettings()
    result = bench_latency(loaded, replace(engine, urgent_frames=frames or engine.urgent_frames), revisions, polyphony)
    lines = [
        f"revision of {result['urgent_frames']} frames: heard of after p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms, "
        f"finished after p50 {result['whole_p50_ms']} ms, in pieces of p95 {result['piece_p95_ms']} ms ({result['dtype']}, {result['steps']} steps)"
    ]
    lines += [f"  {name:20s} {ms:6.2f} ms  {'#' * round(4 * ms)}" for name, ms in result["waterfall_p50_ms"].items()]
    _show(result, lines, as_json)


@bench_app.command("engine")
def bench_engine_command(
    instrument: InstrumentOption = "builtin",
    revisions: Annotated[int, typer.Option(help="Of each kind.", min=5)] = 40,
    device: Annotated[str, typer.Option()] = "auto",
    dtype: Annotated[str, typer.Option()] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Revisions by polyphony, fullness of the window and length of the stretch."""
    from specdiffd.bench.latency import bench_engine
    from specdiffd.engine import EngineSettings
    from specdiffd.loading import load_builtin_family, pick_device

    result = bench_engine(load_builtin_family(instrument, pick_device(device), dtype), EngineSettings(), revisions)
    lines = (
        f"{row['polyphony']:3d} notes held, {row['notes_in_window']:3d} in the window, {row['frames']:3d} frames: "
        f"p50 {row['p50_ms']:6.2f} ms, p99 {row['p99_ms']:6.2f} ms"
        for row in result["rows"]
    )
    _show(result, lines, as_json)


@bench_app.command("decoder")
def bench_decoder_command(
    instrument: InstrumentOption = "builtin",
    frames: Annotated[int, typer.Option(help="Frames that are sampled.", min=1, max=255)] = 24,
    repeats: Annotated[int, typer.Option(help="How many to measure.", min=5)] = 50,
    device: Annotated[str, typer.Option()] = "auto",
    dtype: Annotated[str, typer.Option()] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """What causality saves: one decoder step on a stretch whose past is cached, and on the whole window."""
    from specdiffd.bench.latency import bench_decoder
    from specdiffd.loading import load_builtin_family, pick_device

    result = bench_decoder(load_builtin_family(instrument, pick_device(device), dtype, graphs=False), frames, repeats)
    _show(result, _readable(result), as_json)


@bench_app.command("vocoder")
def bench_vocoder_command(
    instrument: InstrumentOption = "builtin",
    frames: Annotated[int, typer.Option(help="Frames of the short stretch.", min=1, max=64)] = 26,
    repeats: Annotated[int, typer.Option(help="How many to measure.", min=5)] = 50,
    device: Annotated[str, typer.Option()] = "auto",
    dtype: Annotated[str, typer.Option()] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """The vocoder alone: a short stretch, and seconds of compute per second of audio."""
    from specdiffd.bench.latency import bench_vocoder
    from specdiffd.loading import load_builtin_family, pick_device

    result = bench_vocoder(load_builtin_family(instrument, pick_device(device), dtype), frames, repeats)
    _show(result, _readable(result), as_json)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-O", "--output", help="Folder for the recording, the picture and the figures.")] = Path("demo"),
    song: Annotated[Path | None, typer.Option(help="A MIDI file to play; default: the bundled performance.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so many seconds.", min=1)] = None,
    config: ConfigOption = None,
    overrides: Overrides = None,
) -> None:
    """Run the daemon and play a performance into its MIDI port; record it, and draw its spectrogram."""
    from specdiffd.config import load_config, user_config
    from specdiffd.demo.play import play_demo
    from specdiffd.logs import set_up_logging

    loaded = load_config(config or user_config(), overrides or ())
    set_up_logging(loaded.logging.level)
    with _progress(True, "s") as progress:
        task = progress.add_task("playing", total=None)

        def advance(done_s: float, total_s: float) -> None:
            progress.update(task, completed=done_s, total=total_s)

        result = play_demo(loaded, output, song, seconds, advance)
    for line in result:
        _say(line)


def _advance(progress: Any, task: Any, seconds: float) -> None:
    progress.update(task, completed=seconds)


def _progress(show: bool, unit: str) -> Any:
    """A bar on a terminal, nothing elsewhere; what it counts is of ``unit``, and may have no end yet."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not (show and console.is_terminal))


def main() -> None:
    """Entry point: every expected error becomes one line and an exit code."""
    from specdiffd.folders import settle_environment
    from specdiffd.streams import drop_output, hold_streams

    hold_streams()
    settle_environment()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding does not have ends no command
    code, problem = _called()
    if problem:
        _tell(f"specdiffd: {problem}")
    drop_output()
    sys.exit(code)


def _called() -> tuple[Any, str]:
    """The exit code of the command that was asked for, and what went wrong with it."""
    from specdiffd.streams import OutputError

    try:
        app(standalone_mode=True)
    except SystemExit as stop:
        return stop.code, ""
    except ControlError as error:
        return error.exit_code, f"{told(error)} ({printable(clipped(error.code))})"
    except SpecdiffdError as error:
        return error.exit_code, told(error)
    except OutputError as error:
        return SpecdiffdError.exit_code, f"cannot write the output: {error.strerror}"
    except BrokenPipeError:
        return SpecdiffdError.exit_code, ""  # a reader that has heard enough
    except OSError as error:
        return SpecdiffdError.exit_code, told(error) if error.filename is None else printable(f"{error.filename}: {error.strerror}")
    return 0, ""


def _tell(text: str) -> None:
    """A line for people, beside the output; what cannot be told is no reason to end otherwise."""
    with suppress(OSError):
        typer.echo(text, err=True)


if __name__ == "__main__":
    main()
