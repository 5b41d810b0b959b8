"""What is played, as WAV files that are whole at any moment."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.errors import DeviceError
from specdiffd.dsp.files import WAV_BYTES
from specdiffd.shared.sizes import STEREO

FLUSH_S = 0.5  # of audio: what a crash may lose
BYTES = 2 * STEREO  # of a sample, in 16 bits
HEADER_BYTES = 44


class Recording:
    """A file of 16 bits. Nothing that is there is overwritten: the name gets a number, as it does where a file is full.

    Raises:
        DeviceError: nothing can be written; the text says why.
    """

    def __init__(self, path: Path, sample_rate_hz: int, most_bytes: int = WAV_BYTES) -> None:
        self._wanted, self._rate, self._most = path, sample_rate_hz, most_bytes // BYTES
        self._waiting: list[NDArray[np.int16]] = []
        with self._named_errors():
            self._open()

    def write(self, audio: NDArray[np.float32]) -> None:
        """Add audio (samples, STEREO).

        Raises:
            DeviceError: it cannot be written.
        """
        self._waiting.append((np.clip(audio, -1, 1) * 32767).astype("<i2"))
        if sum(map(len, self._waiting)) >= FLUSH_S * self._rate:
            with self._named_errors():
                self._flush()

    def close(self) -> None:
        """Write what waits.

        Raises:
            DeviceError: it cannot be written.
        """
        with self._named_errors(), self._file:
            self._flush()

    def _open(self) -> None:
        self.path, self._samples = unused(self._wanted), 0
        self._file = self.path.open("xb", buffering=0)
        self._add(b"")

    def _flush(self) -> None:
        audio = np.concatenate([np.zeros((0, STEREO), "<i2"), *self._waiting])
        self._waiting = []
        while len(audio) > (room := self._most - self._samples):
            self._add(audio[:room].tobytes())
            self._file.close()
            audio = audio[room:]
            self._open()
        self._add(audio.tobytes())

    def _add(self, data: bytes) -> None:
        """Samples, and a header that counts them."""
        self._file.seek(HEADER_BYTES + self._samples * BYTES)
        rest = memoryview(data)
        while rest:  # a disk that is nearly full takes a part
            rest = rest[self._file.write(rest) :]
        self._samples += len(data) // BYTES
        self._file.seek(0)
        self._file.write(header(self._rate, self._samples * BYTES))

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DeviceError(f"cannot write {self.path}: {error.strerror or error}") from error


def header(sample_rate_hz: int, data_bytes: int) -> bytes:
    """Of a WAV file of 16 bits and STEREO channels (Multimedia Programming Interface and Data Specifications 1.0, IBM and Microsoft 1991)."""
    fmt = struct.pack("<HHIIHH", 1, STEREO, sample_rate_hz, sample_rate_hz * BYTES, BYTES, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", data_bytes)
    return b"RIFF" + struct.pack("<I", len(chunks) + data_bytes) + chunks


def unused(path: Path) -> Path:
    """The path, or the first of it with -2, -3 ... behind its stem that is not there."""
    number, found = 1, path
    while found.exists() or found.is_symlink():
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found
