"""What is played, as WAV files that are whole at any moment."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specdiffd.audio.files import WAV_BYTES
from specdiffd.errors import DeviceError
from specdiffd.io.shared import STEREO

FLUSH_S = 0.5  # of audio: what a crash may lose
BYTES = 2 * STEREO  # of a sample, in 16 bits


class Recording:
    """A file of 16 bits. Nothing that is there is overwritten: the name gets a number, as it does where a file is full.

    Raises:
        DeviceError: nothing can be written; the text says why.
    """

    def __init__(self, path: Path, sample_rate_hz: int, most_bytes: int = WAV_BYTES) -> None:
        self._wanted, self._rate, self._most = path, sample_rate_hz, most_bytes // BYTES
        self._waiting: list[NDArray[np.int16]] = []
        self._open()

    def write(self, audio: NDArray[np.float32]) -> None:
        """Add audio (samples, STEREO).

        Raises:
            DeviceError: it cannot be written.
        """
        self._waiting.append((np.clip(audio, -1, 1) * 32767).astype("<i2"))
        if sum(map(len, self._waiting)) >= FLUSH_S * self._rate:
            self._flush()

    def close(self) -> None:
        """Write what waits."""
        try:
            self._flush()
            self._wave.close()
        except OSError as error:
            raise self._failure(error) from error
        finally:
            self._file.close()

    def _open(self) -> None:
        self.path = unused(self._wanted)
        try:
            self._file = self.path.open("xb")
            self._wave = wave.open(self._file, "wb")  # noqa: SIM115  closed by ``close``
            self._wave.setnchannels(STEREO)
            self._wave.setsampwidth(2)
            self._wave.setframerate(self._rate)
            self._wave.writeframes(b"")
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def _flush(self) -> None:
        audio = np.concatenate([np.zeros((0, STEREO), "<i2"), *self._waiting])
        self._waiting = []
        try:
            while self._wave.getnframes() + len(audio) > self._most:
                room = self._most - self._wave.getnframes()
                self._wave.writeframes(audio[:room].tobytes())
                self._file.close()
                audio = audio[room:]
                self._open()
            self._wave.writeframes(audio.tobytes())  # its length is written, too
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> DeviceError:
        return DeviceError(f"cannot write {self.path}: {error.strerror or error}")


def unused(path: Path) -> Path:
    """The path, or the first of it with -2, -3 ... behind its stem that is not there."""
    number, found = 1, path
    while found.exists() or found.is_symlink():
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found
