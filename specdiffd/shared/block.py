"""One block of shared memory: the timeline, what was played, and the event queues."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from multiprocessing import reduction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specdiffd.shared.ring import EventRing
from specdiffd.shared.timeline import Timeline

PLAYED_SAMPLES = 1 << 18
MAX_BLOCK = 8192
STEREO = 2  # what is put out; the device may have other numbers of channels


class PlayedRing:
    """What the callback really put out, for recording and for the picture; overwritten after 5 s at 48 kHz."""

    def __init__(self, buffer: Any) -> None:
        self._count = ctypes.c_int64.from_buffer(buffer)
        self._audio: NDArray[np.float32] = np.frombuffer(buffer, np.float32, PLAYED_SAMPLES * STEREO, 8).reshape(PLAYED_SAMPLES, STEREO)

    @staticmethod
    def size() -> int:
        """Bytes needed."""
        return 8 + PLAYED_SAMPLES * STEREO * 4

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


class SharedBlock:
    """Memory without a name: it is handed to a child process as an argument, and goes when the last process that has it ends.

    Nothing is left behind after any kind of death.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("specdiffd")
        else:
            with tempfile.TemporaryFile() as file:
                self._fd = os.dup(file.fileno())
        os.ftruncate(self._fd, _STARTS[-1])
        self._map()
        self.timeline.clear()

    def _map(self) -> None:
        buffer = memoryview(mmap.mmap(self._fd, _STARTS[-1]))
        self.words: NDArray[np.int64] = np.frombuffer(buffer, np.int64)  # all of it, for compiled code
        views = [buffer[a : a + s] for a, s in zip(_STARTS, _SIZES, strict=False)]
        self.timeline = Timeline(views[0])
        self.played = PlayedRing(views[1])
        self.live_events = EventRing(views[2])  # MIDI ports to engine
        self.control_events = EventRing(views[3])  # control plane to engine

    def __getstate__(self) -> Any:
        return reduction.DupFd(self._fd)  # only works while a child process is being spawned

    def __setstate__(self, duplicate: Any) -> None:
        self._fd = duplicate.detach()
        self._map()


_SIZES = (Timeline.size(), PlayedRing.size(), EventRing.size(), EventRing.size())
_STARTS: list[int] = np.concatenate(([0], np.cumsum([-(-s // 64) * 64 for s in _SIZES]))).tolist()
PLAYED_WORD = _STARTS[1] // 8  # among SharedBlock.words: PlayedRing's count, with its audio behind it
