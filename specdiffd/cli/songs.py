"""The MIDI files among the paths that a command was given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from specdiffd.base.errors import UsageError

SUFFIXES = (".mid", ".midi", ".kar", ".rmi")


def find_songs(paths: Sequence[Path]) -> list[Path]:
    """The files among ``paths``, and the MIDI files in the folders among them, at any depth.

    A folder that cannot be read is itself in the list, so that the command reports it as unreadable.

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
    unreadable: list[Path] = []
    found = os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename)))
    songs = [Path(inside, name) for inside, _, names in found for name in names if Path(name).suffix.lower() in SUFFIXES]
    return sorted(songs + unreadable)


def check_readable(paths: Sequence[Path], strict: bool) -> None:
    """Check a single file before anything large is loaded. Several files are checked when it is their turn.

    Args:
        paths: as given to a command.
        strict: refuse a damaged file.

    Raises:
        MidiFileError: it cannot be read or played.
    """
    from specdiffd.midi.file import read_song

    if len(paths) == 1 and paths[0].is_file():
        read_song(paths[0], strict)
