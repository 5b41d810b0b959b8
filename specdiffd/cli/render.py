"""``specdiffd render``: MIDI files to sound files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from specdiffd.base.errors import SpecdiffdError, UsageError
from specdiffd.base.text import told
from specdiffd.cli.options import Device, Dtype, Instrument, JsonFlag, Strict
from specdiffd.cli.output import progress_bar, say, tell, warn

if TYPE_CHECKING:
    from specdiffd.base.instrument import RenderSettings as Sampling
    from specdiffd.cli.batch import Outcome

Songs = Annotated[list[Path], typer.Argument(metavar="SONG.mid|DIR ...", help="MIDI files, or folders of them.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="A .wav, .flac or .ogg file, - for standard output (WAV), or a folder; default: beside each song."),
]
Scheduler = Annotated[str | None, typer.Option(help="ddpm, ddim or dpmsolver++, for published checkpoints; default: theirs.")]
Steps = Annotated[int | None, typer.Option(help="Steps of the sampler; default: the instrument's (published checkpoints: 100).", min=1)]
Guidance = Annotated[float, typer.Option(help="Weight of classifier-free guidance; the paper's notebook has 2.", min=0, max=20)]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal sound.", min=0)]
Mel = Annotated[Path | None, typer.Option(help="Also write the log mel (1, frames, bins) of one song to this .npy file.")]
Rate = Annotated[int | None, typer.Option(help="Sample rate of the file in Hz; default: the instrument's.", min=8000, max=192000)]
GainDb = Annotated[float, typer.Option(help="Gain in dB.")]
Room = Annotated[float, typer.Option(help="Level of a small room, 0 (none) to 1; the file is stereo then.", min=0, max=1)]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


def render(
    songs: Songs,
    output: Output = None,
    instrument: Instrument = "builtin",
    scheduler: Scheduler = None,
    steps: Steps = None,
    guidance: Guidance = 1.0,
    seed: Seed = 0,
    mel: Mel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    rate: Rate = None,
    gain_db: GainDb = 0.0,
    reverb: Room = 0.0,
    strict: Strict = False,
    force: Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Render MIDI files to sound files. Songs that cannot be rendered are named at the end, and the exit code is 1."""
    from specdiffd.cli.songs import check_readable, find_songs

    check_readable(songs, strict)
    from specdiffd.base.instrument import RenderSettings as Sampling
    from specdiffd.cli.batch import check_single, plan, render_jobs
    from specdiffd.dsp.files import STANDARD_OUTPUT
    from specdiffd.render import RenderSettings

    to_stdout = output == STANDARD_OUTPUT
    if to_stdout and as_json:
        raise UsageError("-o - and --json both go to standard output: leave one out")
    jobs = plan(find_songs(songs), output, force, mel)
    check_single(jobs, force)
    loaded = _load(instrument, device, dtype, Sampling(seed=seed, steps=steps, scheduler=scheduler, guidance=guidance))
    settings = RenderSettings(rate, 10 ** (gain_db / 20), reverb)
    with progress_bar(not as_json, "s") as progress:
        outcomes = list(_warned(render_jobs(loaded, jobs, settings, strict, partial(_song_progress, progress))))
    _print(outcomes, as_json, to_stdout)
    _name_failures(outcomes)


def _load(name: str, device: str, dtype: str, sampling: Sampling) -> Any:
    """Load the instrument. The imports take seconds, so songs are checked before."""
    from specdiffd.instruments.loading import load_instrument, pick_device

    return load_instrument(name, pick_device(device), dtype, sampling)


def _warned(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The same outcomes; prints each one's warnings."""
    for outcome in outcomes:
        warn(outcome.warnings)
        yield outcome


@contextmanager
def _song_progress(progress: Any, name: str, seconds: float) -> Iterator[Callable[[float], None]]:
    """A song's progress bar: a context with a function that takes the seconds done."""
    task = progress.add_task(name, total=max(seconds, 1e-3))
    yield lambda done_s: progress.update(task, completed=done_s)
    progress.update(task, completed=progress.tasks[task].total)


def _print(outcomes: Sequence[Outcome], as_json: bool, to_stdout: bool) -> None:
    """Print the renderings: on standard error if standard output has the sound."""
    from specdiffd.cli.batch import describe

    rows = [describe(outcome) for outcome in outcomes]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        if "path" in row:
            say(f"{row['path']}: {row['duration_s']} s, real-time factor {row['real_time_factor']}, peak {row['peak']}", to_stdout)


def _name_failures(outcomes: Sequence[Outcome]) -> None:
    """Print the errors of several songs.

    Raises:
        SpecdiffdError: of a single song.
        typer.Exit: some of several songs were not rendered.
    """
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(outcomes) == 1 and failed:
        raise failed[0]
    if failed:
        tell(f"specdiffd: {len(failed)} of {len(outcomes)} songs were not rendered:")
        for error in failed:
            tell(f"specdiffd: {told(error)}")
        raise typer.Exit(SpecdiffdError.exit_code)
