"""Which songs are rendered, and where their sound goes."""

import os
from contextlib import contextmanager
from pathlib import Path

import mido
import pytest
import soundfile

from specdiffd.base.errors import SpecdiffdError, UsageError
from specdiffd.cli.batch import Job, describe, plan, render_jobs
from specdiffd.cli.songs import find_songs
from specdiffd.dsp.files import FORMATS, check_writable
from specdiffd.instruments.sine import SineInstrument
from specdiffd.render import RenderSettings


def song(path: Path) -> Path:
    track = mido.MidiTrack([mido.Message("note_on", note=60, velocity=90), mido.Message("note_off", note=60, time=480)])
    mido.MidiFile(tracks=[track]).save(path)
    return path


@contextmanager
def nothing(name: str, seconds: float):  # type: ignore[no-untyped-def]
    yield lambda done_s: None


def outcomes(*jobs: Job, strict: bool = False) -> list[dict[str, object]]:
    return [describe(o) for o in render_jobs(SineInstrument(), jobs, RenderSettings(8000), strict, nothing)]


def test_songs_and_outputs(tmp_path: Path) -> None:
    for name in ("b.mid", "x/a.MID", "x/y/c.midi", "x/y/d.rmi", "x/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"")
    songs = find_songs([tmp_path / "b.mid", tmp_path / "x"])
    assert [s.name for s in songs] == ["b.mid", "a.MID", "c.midi", "d.rmi"]
    assert [job.path.name for job in plan(songs, tmp_path / "out", False)] == ["b.wav", "a.wav", "c.wav", "d.wav"]
    assert plan(songs[:1], None, False)[0].path == tmp_path / "b.wav"
    for name in ("z.wav", "z.FLAC", "z.ogg", "-"):
        target = Path(name) if name == "-" else tmp_path / name
        assert plan(songs[:1], target, False)[0].path == target
        with pytest.raises(UsageError, match="name a folder"):
            plan(songs, target, False)
    with pytest.raises(UsageError, match=r"\.mp3 files are not written here, expected \.wav, \.flac, \.ogg"):
        plan(songs[:1], tmp_path / "z.mp3", False)
    with pytest.raises(UsageError, match="two songs"):
        plan([songs[0], songs[0]], tmp_path, False)
    with pytest.raises(UsageError, match="takes the mel of one song, there are 4"):
        plan(songs, tmp_path / "out", False, tmp_path / "mel.npy")
    with pytest.raises(UsageError, match="does not exist"):
        find_songs([tmp_path / "none.mid"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no MIDI files in"):
        find_songs([tmp_path / "empty"])


def test_a_folder_that_cannot_be_read_is_named_with_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x" / "closed").mkdir(parents=True)
    song(tmp_path / "x" / "a.mid")
    scandir = os.scandir

    def refused(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    rows = outcomes(*plan(find_songs([tmp_path / "x"]), tmp_path / "out", False))
    assert [("path" in row, Path(row["song"]).name) for row in rows] == [(True, "a.mid"), (False, "closed")]


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "out" / f"a{suffix}"
    (row,) = outcomes(*plan([song(tmp_path / "a.mid")], path, False))
    assert row["path"] == str(path)
    info = soundfile.info(path)
    assert info.format == FORMATS[suffix][0]
    assert info.duration == pytest.approx(0.55, abs=0.06)
    assert os.listdir(path.parent) == [path.name]


def test_a_song_that_cannot_be_rendered_does_not_stop_the_others(tmp_path: Path) -> None:
    songs = [song(tmp_path / "1.mid"), tmp_path / "2.mid", tmp_path / "3.mid", song(tmp_path / "4.mid")]
    songs[1].write_bytes(b"broken")
    songs[2].write_bytes(b"")
    rows = outcomes(*plan(songs, tmp_path / "out", False))
    assert ["path" in row for row in rows] == [True, False, False, True]
    assert "2.mid: header, byte 0: no MIDI file" in str(rows[1]["error"])
    assert sorted(os.listdir(tmp_path / "out")) == ["1.wav", "4.wav"]


def test_existing_files_stay_unless_they_are_old_renderings_of_ours(tmp_path: Path) -> None:
    named, foreign = tmp_path / "a.wav", tmp_path / "out" / "b.wav"
    songs = [song(tmp_path / "a.mid"), song(tmp_path / "b.mid")]
    outcomes(*plan(songs[:1], named, False))
    foreign.parent.mkdir()
    soundfile.write(foreign, [0.5] * 100, 8000)
    os.utime(named, (1, 1))
    os.utime(foreign, (1, 1))
    with pytest.raises(UsageError, match=r"a\.wav exists: --force replaces it"):
        check_writable(named, plan(songs[:1], named, False)[0].replace)
    rows = outcomes(*plan(songs, foreign.parent, False))
    assert "b.wav exists: --force" in str(rows[1]["error"])
    assert soundfile.info(foreign).frames == 100
    (row,) = outcomes(*plan(songs[:1], foreign.parent, False))
    assert "a.wav exists" in str(row["error"])  # a rendering newer than its song
    os.utime(foreign.parent / "a.wav", (1, 1))
    rows = outcomes(*plan(songs, foreign.parent, False))
    assert ["path" in row for row in rows] == [True, False]
    assert all("path" in row for row in outcomes(*plan(songs, foreign.parent, True)))


def test_a_device_is_not_replaced_and_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists and is no file"):
        check_writable(Path("/dev/full"), True)
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecdiffdError, match="file is no folder"):
        check_writable(tmp_path / "file" / "x.wav", False)


def test_strict_refuses_a_damaged_file(tmp_path: Path) -> None:
    path = song(tmp_path / "a.mid")
    path.write_bytes(path.read_bytes() + b"xxx")
    jobs = plan([path], None, True)
    assert "3 bytes behind the last chunk" in str(outcomes(*jobs, strict=True)[0]["error"])
    (row,) = outcomes(*jobs)
    assert row["warnings"] == [f"{path}: track 2, byte {path.stat().st_size - 3}: 3 bytes behind the last chunk"]
