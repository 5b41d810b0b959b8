"""One block of shared memory: the timeline, what was played, and the event queues."""

from __future__ import annotations

from multiprocessing import shared_memory
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specdiffd.io.ring import EventRing
from specdiffd.io.timeline import CHANNELS, Timeline

PLAYED_SAMPLES = 1 << 18


class PlayedRing:
    """What the callback really put out, for recording and for the picture; overwritten after 5 s at 48 kHz."""

    def __init__(self, buffer: Any) -> None:
        self._count: Any = np.frombuffer(buffer, np.int64, 1)
        self._audio: NDArray[np.float32] = np.frombuffer(buffer, np.float32, PLAYED_SAMPLES * CHANNELS, 8).reshape(PLAYED_SAMPLES, CHANNELS)

    @staticmethod
    def size() -> int:
        """Bytes needed."""
        return 8 + PLAYED_SAMPLES * CHANNELS * 4

    @property
    def count(self) -> int:
        """Samples played so far."""
        return int(self._count[0])

    def add(self, audio: NDArray[np.float32]) -> None:
        """The callback's write: (samples, CHANNELS)."""
        first = self.count % PLAYED_SAMPLES
        head = min(len(audio), PLAYED_SAMPLES - first)
        self._audio[first : first + head] = audio[:head]
        self._audio[: len(audio) - head] = audio[head:]
        self._count[0] += len(audio)

    def since(self, count: int) -> tuple[NDArray[np.float32], int]:
        """Everything after the first ``count`` samples that is still there, and the count now."""
        now = self.count
        first = max(count, now - PLAYED_SAMPLES // 2)
        index = np.arange(first, now) % PLAYED_SAMPLES
        return self._audio[index], now


class SharedBlock:
    """Creates the block (``name`` None) or attaches to it. A context manager; the creator removes it on leaving."""

    def __init__(self, name: str | None = None) -> None:
        sizes = (Timeline.size(), PlayedRing.size(), EventRing.size(), EventRing.size())
        starts = np.concatenate(([0], np.cumsum([-(-s // 64) * 64 for s in sizes]))).tolist()
        self._owner = name is None
        self._memory = shared_memory.SharedMemory(name=name, create=self._owner, size=starts[-1])
        views = [self._memory.buf[a : a + s] for a, s in zip(starts, sizes, strict=False)]
        self.timeline = Timeline(views[0])
        self.played = PlayedRing(views[1])
        self.live_events = EventRing(views[2])  # MIDI ports to engine
        self.control_events = EventRing(views[3])  # control plane to engine
        self._views = views
        if self._owner:
            self.timeline.clear()

    @property
    def name(self) -> str:
        """For attaching."""
        return self._memory.name

    def __enter__(self) -> SharedBlock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # NumPy arrays hold on to the buffer: let go of them before it is closed.
        del self.timeline, self.played, self.live_events, self.control_events
        for view in self._views:
            try:
                view.release()
            except BufferError:  # somebody still holds an array; the mapping goes with the process
                break
        else:
            self._memory.close()
        if self._owner:
            self._memory.unlink()
