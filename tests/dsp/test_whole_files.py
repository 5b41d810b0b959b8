"""A file appears under its name when it is whole, and nothing is left of one that is not."""

import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import soundfile

from specdiffd.base.errors import SpecdiffdError, UsageError
from specdiffd.dsp.files import STANDARD_OUTPUT, Silence, array_file, check_writable, is_ours, is_sound_file, sound_file, whole_file


def test_the_name_is_taken_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")
    with whole_file(target) as (part, _):
        part.write_text("after")
        assert target.read_text() == "before"
    assert target.read_text() == "after"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")

    def write_half(part: Path) -> NoReturn:
        part.write_text("after")
        raise ValueError("half")

    with pytest.raises(ValueError, match="half"), whole_file(target) as (part, _):
        write_half(part)
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_is_discarded_takes_no_name(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.txt") as (part, discard):
        part.write_text("x")
        discard()
    assert os.listdir(tmp_path) == []


def test_folders_that_are_missing_are_made(tmp_path: Path) -> None:
    with whole_file(tmp_path / "b" / "c" / "a.txt") as (part, _):
        part.write_text("x")
    assert (tmp_path / "b" / "c" / "a.txt").read_text() == "x"


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")
    says = f"cannot write {tmp_path}/b/a.txt: {tmp_path}/b is no folder"
    with pytest.raises(SpecdiffdError, match=says), whole_file(tmp_path / "b" / "a.txt"):
        pass


def test_an_error_of_the_system_is_told_with_the_name(tmp_path: Path) -> None:
    says = f"cannot write {tmp_path}/a.txt: No such file or directory"
    with pytest.raises(SpecdiffdError, match=says), whole_file(tmp_path / "a.txt"):
        pass  # nothing was written, so there is nothing to take the name


@pytest.mark.parametrize("name", ["a.wav", "a.FLAC", "a.ogg", "-"])
def test_sound_files_are_known_by_their_name(name: str) -> None:
    assert is_sound_file(Path(name))


def test_folders_and_other_names_are_no_sound_files(tmp_path: Path) -> None:
    (tmp_path / "x.wav").mkdir()
    (tmp_path / "x.mp3").mkdir()
    assert not is_sound_file(tmp_path / "x.wav")
    assert not is_sound_file(tmp_path / "x.mp3")
    assert not is_sound_file(tmp_path / "songs")


@pytest.mark.parametrize("suffix", [".mp3", ".aiff", ".OPUS"])
def test_a_format_that_is_not_written_is_refused_with_those_that_are(suffix: str) -> None:
    with pytest.raises(UsageError, match=rf"x{suffix}: {suffix.lower()} files are not written here, expected .wav, .flac, .ogg"):
        is_sound_file(Path(f"x{suffix}"))


def test_what_exists_is_replaced_by_force_alone(tmp_path: Path) -> None:
    target = tmp_path / "a.wav"
    check_writable(target, force=False)
    assert not target.exists()
    target.write_text("before")
    with pytest.raises(UsageError, match=r"a.wav exists: --force replaces it"):
        check_writable(target, force=False)
    check_writable(target, force=True)
    assert target.read_text() == "before"
    with pytest.raises(UsageError, match="exists and is no file"):
        check_writable(tmp_path, force=True)
    check_writable(STANDARD_OUTPUT, force=False)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"), [(".wav", "PCM_16", 1e-4), (".flac", "PCM_16", 1e-4), (".ogg", "VORBIS", 0.05)]
)
def test_each_format_holds_the_audio(tmp_path: Path, suffix: str, subtype: str, tolerance: float) -> None:
    audio = 0.5 * np.sin(np.arange(4000) / 20)[:, None].astype(np.float32) * np.ones(2, np.float32)
    path = tmp_path / f"a{suffix}"
    with sound_file(path, 22050, 2, len(audio)) as file:
        file.write(audio)
    found, rate_hz = soundfile.read(path, dtype="float32")
    assert (rate_hz, soundfile.info(path).subtype) == (22050, subtype)
    np.testing.assert_allclose(found, audio, atol=tolerance)


def test_our_files_are_told_from_others(tmp_path: Path) -> None:
    for name in ("ours.wav", "ours.flac"):
        with sound_file(tmp_path / name, 8000, 1, 10) as file:
            file.write(np.zeros(10, np.float32))
        assert is_ours(tmp_path / name)
    soundfile.write(tmp_path / "other.wav", np.zeros(10, np.float32), 8000)
    (tmp_path / "text.wav").write_text("no sound")
    assert not is_ours(tmp_path / "other.wav")
    assert not is_ours(tmp_path / "text.wav")
    assert not is_ours(tmp_path / "missing.wav")


@pytest.mark.parametrize("samples", [0, 1, 7, 8, 9, 100])
def test_silence_is_as_long_as_asked(tmp_path: Path, samples: int) -> None:
    with sound_file(tmp_path / "a.wav", 8000, 2, samples) as file:
        Silence(2, samples=8).write(file, samples)
    found, _ = soundfile.read(tmp_path / "a.wav", always_2d=True)
    assert found.shape == (samples, 2)
    assert not found.any()


@pytest.mark.parametrize("pieces", [(), (1,), (3, 0, 5)])
def test_rows_become_an_array(tmp_path: Path, pieces: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).normal(size=(sum(pieces), 4)).astype(np.float32)
    with array_file(tmp_path / "mel.npy", 4) as write:
        first = 0
        for count in pieces:
            write(rows[first : first + count])
            first += count
    found = np.load(tmp_path / "mel.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rows[None])
    assert os.listdir(tmp_path) == ["mel.npy"]
