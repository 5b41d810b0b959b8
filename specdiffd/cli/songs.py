"""Paths given to a command as a list of MIDI files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from specdiffd.base.errors import UsageError

SUFFIXES = (".mid", ".midi", ".kar", ".rmi")


def find_songs(paths: Sequence[Path]) -> list[Path]:
    """The MIDI files among ``paths`` and in the folders among them, at any depth.

    A folder that cannot be read is in the list itself, so that the command names it as what it could not read.

    Raises:
        UsageError: a path does not exist, or a folder holds no MIDI file.
    """
    songs: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = _songs_in(path)
            if not inside:
                raise UsageError(f"no MIDI files in {path}")
            songs += inside
        elif path.exists():
            songs.append(path)
        else:
            raise UsageError(f"{path} does not exist")
    return songs


def _songs_in(folder: Path) -> list[Path]:
    closed: list[Path] = []
    found = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)))
    songs = [Path(inside, name) for inside, _, names in found for name in names if Path(name).suffix.lower() in SUFFIXES]
    return sorted(songs + closed)


def check_readable(paths: Sequence[Path], strict: bool) -> None:
    """Refuse an only file that cannot be read before anything large is loaded. Others are named when it is their turn.

    Args:
        paths: as given to a command.
        strict: refuse a file that has to be mended.

    Raises:
        MidiFileError: it cannot be read or played.
    """
    from specdiffd.midi.file import read_song

    if len(paths) == 1 and paths[0].is_file():
        read_song(paths[0], strict)
