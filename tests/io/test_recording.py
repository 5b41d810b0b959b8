import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from specdiffd.base.errors import DeviceError
from specdiffd.io.recording import Recording, unused

RATE = 8000


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (samples, 2)).astype(np.float32)


def test_what_was_written_is_there(tmp_path: Path) -> None:
    recording, audio = Recording(tmp_path / "a.wav", RATE), noise(10_000)
    for piece in np.array_split(audio, 37):
        recording.write(piece)
    recording.close()
    found, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == RATE
    assert np.abs(found - audio).max() < 1e-4


def test_it_is_whole_at_any_moment(tmp_path: Path) -> None:
    """As a crash would leave it, but for the last half second."""
    recording = Recording(tmp_path / "a.wav", RATE)
    assert soundfile.info(tmp_path / "a.wav").frames == 0
    for k in range(20):
        recording.write(noise(1000))
        assert soundfile.info(tmp_path / "a.wav").frames > 1000 * (k + 1) - 0.6 * RATE
    recording.close()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A process that starts again goes on in another file."""
    for k in range(3):
        recording = Recording(tmp_path / "take.wav", RATE)
        recording.write(noise(100 * (k + 1)))
        recording.close()
    frames = {p.name: soundfile.info(p).frames for p in tmp_path.iterdir()}
    assert frames == {"take.wav": 100, "take-2.wav": 200, "take-3.wav": 300}
    (tmp_path / "link.wav").symlink_to(tmp_path / "nothing")
    assert unused(tmp_path / "link.wav").name == "link-2.wav"


def test_a_file_that_is_full_goes_on_in_the_next(tmp_path: Path) -> None:
    audio = noise(25_000)
    recording = Recording(tmp_path / "a.wav", RATE, most_bytes=4 * 7000)
    for piece in np.array_split(audio, 11):
        recording.write(piece)
    recording.close()
    pieces = [soundfile.read(tmp_path / name, dtype="float32")[0] for name in ("a.wav", "a-2.wav", "a-3.wav", "a-4.wav")]
    assert [len(p) for p in pieces] == [7000, 7000, 7000, 4000]
    assert np.abs(np.concatenate(pieces) - audio).max() < 1e-4


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"cannot write .*/none/a\.wav: No such file"):
        Recording(tmp_path / "none" / "a.wav", RATE)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        recording = Recording(tmp_path / "a.wav", RATE)
        for _ in range(2):
            with pytest.raises(DeviceError, match=r"cannot write .*a\.wav: File too large"):
                recording.write(noise(50_000))
        recording.write(noise(100))
        recording.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == ["a.wav"]
    assert soundfile.info(tmp_path / "a.wav").frames == 100  # what there was room for
