"""What was really put out: the last seconds of it, in shared memory."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specdiffd.shared.sizes import PLAYED_SAMPLES, STEREO


class PlayedRing:
    """What the callback really put out, for recording and for the picture; overwritten after 5 s at 48 kHz."""

    def __init__(self, buffer: Any) -> None:
        self._count = ctypes.c_int64.from_buffer(buffer)
        self._audio: NDArray[np.float32] = np.frombuffer(buffer, np.float32, PLAYED_SAMPLES * STEREO, 8).reshape(PLAYED_SAMPLES, STEREO)

    @property
    def count(self) -> int:
        """Samples played so far."""
        return self._count.value

    def add(self, audio: NDArray[np.float32]) -> None:
        """The callback's write: (samples, STEREO)."""
        first = self.count % PLAYED_SAMPLES
        head = min(len(audio), PLAYED_SAMPLES - first)
        self._audio[first : first + head] = audio[:head]
        self._audio[: len(audio) - head] = audio[head:]
        self._count.value += len(audio)

    def since(self, count: int) -> tuple[NDArray[np.float32], int]:
        """Everything after the first ``count`` samples that is still there, and the count now."""
        now = self.count
        first = max(count, now - PLAYED_SAMPLES // 2)
        index = np.arange(first, now) % PLAYED_SAMPLES
        return self._audio[index], now
