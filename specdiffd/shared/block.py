"""One block of shared memory: the timeline, what was played, and the event queues. The supervisor, which has no NumPy, sees marks and queues."""

from __future__ import annotations

import mmap
import os
import tempfile
from functools import cached_property
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any

from specdiffd.shared.marks import Marks
from specdiffd.shared.ring import EventRing
from specdiffd.shared.sizes import SIZES, STARTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from specdiffd.shared.played import PlayedRing
    from specdiffd.shared.timeline import Timeline


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
        os.ftruncate(self._fd, STARTS[-1])
        self._map()
        self.marks.clear()

    def _map(self) -> None:
        self._buffer = memoryview(mmap.mmap(self._fd, STARTS[-1]))
        self._views = [self._buffer[start : start + size] for start, size in zip(STARTS, SIZES, strict=False)]
        self.marks = Marks(self._views[0])
        self.live_events = EventRing(self._views[2])  # MIDI ports to engine
        self.control_events = EventRing(self._views[3])  # control plane to engine

    @cached_property
    def timeline(self) -> Timeline:
        """The marks with their audio."""
        from specdiffd.shared.timeline import Timeline

        return Timeline(self._views[0])

    @cached_property
    def played(self) -> PlayedRing:
        """What was put out."""
        from specdiffd.shared.played import PlayedRing

        return PlayedRing(self._views[1])

    @cached_property
    def words(self) -> NDArray[np.int64]:
        """All of it, for compiled code."""
        import numpy as np

        return np.frombuffer(self._buffer, np.int64)

    def __getstate__(self) -> Any:
        return reduction.DupFd(self._fd)  # only works while a child process is being spawned

    def __setstate__(self, duplicate: Any) -> None:
        self._fd = duplicate.detach()
        self._map()
