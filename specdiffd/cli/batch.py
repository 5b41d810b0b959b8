"""Rendering several songs: where each one's sound goes, and how the rest go on when one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from specdiffd.base.errors import SpecdiffdError, UsageError
from specdiffd.base.instrument import Instrument
from specdiffd.dsp.files import STANDARD_OUTPUT, check_writable, is_ours, is_sound_file
from specdiffd.render import RenderResult, RenderSettings, open_song, render_file


class Job(NamedTuple):
    """A song and where its sound goes."""

    song: Path
    path: Path
    replace: bool  # an existing file
    mel: Path | None = None


class Outcome(NamedTuple):
    """The result of a job: the rendering, or why there is none."""

    job: Job
    warnings: list[str]
    result: RenderResult | None = None
    error: SpecdiffdError | None = None


def plan(songs: Sequence[Path], output: Path | None, force: bool, mel: Path | None = None) -> list[Job]:
    """Where each song's sound goes: beside it, into a folder, to a file or to standard output.

    A file that an earlier rendering wrote is replaced if it is older than its song, unless it was named as the output.

    Args:
        output: a file, ``-``, a folder, or None: beside each song.
        force: replace existing files.
        mel: a file for the log mel of a single song.

    Raises:
        UsageError: several songs for one file, or two songs that would overwrite each other.
    """
    if output is not None and is_sound_file(output):
        if len(songs) > 1:
            raise UsageError(f"{len(songs)} songs cannot all go to {output}: name a folder")
        paths = [output]
    else:
        paths = [(output or song.parent) / f"{song.stem}.wav" for song in songs]
    for path in paths:
        if paths.count(path) > 1:
            raise UsageError(f"two songs would be written to {path}: render them to different folders")
    if mel is not None and len(songs) > 1:
        raise UsageError(f"--mel {mel} takes the mel of one song, there are {len(songs)}")
    named = output in paths
    return [Job(song, path, force or (not named and _out_of_date(song, path)), mel) for song, path in zip(songs, paths, strict=True)]


def _out_of_date(song: Path, path: Path) -> bool:
    return path.is_file() and path.stat().st_mtime < song.stat().st_mtime and is_ours(path)


def check_single(jobs: Sequence[Job], force: bool) -> None:
    """Check a single song's files at once, before an instrument is loaded. Several songs are checked one by one as they are rendered.

    Args:
        jobs: as :func:`plan` gives them.
        force: an existing mel file may be replaced.

    Raises:
        SpecdiffdError: the sound or the mel cannot be written; the text says why.
    """
    if len(jobs) != 1:
        return
    job = jobs[0]
    check_writable(job.path, job.replace)
    if job.mel is not None:
        check_writable(job.mel, force)


def render_jobs(
    instrument: Instrument[Any],
    jobs: Sequence[Job],
    settings: RenderSettings,
    strict: bool,
    progress: Callable[[str, float], AbstractContextManager[Callable[[float], None]]],
) -> Iterator[Outcome]:
    """Render one job after the other. One that fails does not stop the rest: its outcome holds the error.

    Args:
        instrument: plays all of them.
        jobs: as :func:`plan` gives them.
        settings: rate, gain and room.
        strict: refuse damaged files.
        progress: called with a song's name and length in seconds; returns a context with a function that takes the seconds done.
    """
    for job in jobs:
        warnings: list[str] = []
        try:
            check_writable(job.path, job.replace)
            song = open_song(instrument, job.song, strict)
            warnings = song.warnings
            with progress(job.song.name, song.end_s) as advance:
                result = render_file(instrument, song, job.path, settings, advance, job.mel)
            yield Outcome(job, warnings, result)
        except SpecdiffdError as error:
            yield Outcome(job, warnings, error=error)


def describe(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain data."""
    if outcome.result is None:
        return {"song": str(outcome.job.song), "error": str(outcome.error)}
    r = outcome.result
    return {
        "song": str(outcome.job.song),
        "path": "-" if r.path == STANDARD_OUTPUT else str(r.path),
        "duration_s": round(r.duration_s, 2),
        "real_time_factor": round(r.real_time_factor, 4),
        "peak": round(r.peak, 4),
        "warnings": outcome.warnings,
    }
