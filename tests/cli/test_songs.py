"""Paths that are given to a command as a list of MIDI files."""

from pathlib import Path

import pytest

from specdiffd.base.errors import MidiFileError, UsageError
from specdiffd.cli.songs import SUFFIXES, check_readable, find_songs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.mid", "a.MIDI", "deep/er/c.kar", "deep/d.rmi", "notes.txt", "e.mid.bak"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no song")
    return tmp_path


def test_songs_are_found_at_any_depth_in_order(folder: Path) -> None:
    assert find_songs([folder]) == [folder / "a.MIDI", folder / "b.mid", folder / "deep" / "d.rmi", folder / "deep" / "er" / "c.kar"]


def test_files_are_taken_as_they_are_named(folder: Path) -> None:
    """Whatever their suffix, and in the order in which they are named."""
    assert find_songs([folder / "notes.txt", folder / "deep", folder / "b.mid"]) == [
        folder / "notes.txt",
        folder / "deep" / "d.rmi",
        folder / "deep" / "er" / "c.kar",
        folder / "b.mid",
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_suffixes_of_either_case_are_songs(tmp_path: Path, suffix: str) -> None:
    for name in (f"a{suffix}", f"b{suffix.upper()}"):
        (tmp_path / name).write_bytes(b"")
    assert len(find_songs([tmp_path])) == 2


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{tmp_path}/x.mid does not exist"):
        find_songs([tmp_path / "x.mid"])


def test_a_folder_without_songs_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no MIDI files in {tmp_path}"):
        find_songs([tmp_path])


def test_an_only_song_is_read_beforehand_and_several_are_not(folder: Path) -> None:
    with pytest.raises(MidiFileError, match=r"b.mid: .*expected b'MThd'"):
        check_readable([folder / "b.mid"], strict=False)
    check_readable([folder / "b.mid", folder / "a.MIDI"], strict=False)
    check_readable([folder], strict=False)
    check_readable([folder / "missing.mid"], strict=False)
