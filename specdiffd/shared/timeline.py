"""The timeline: a circular audio buffer indexed by absolute sample number, the past already heard, then the forecast.

One writer (the engine), one reader (the audio callback); in shared memory between processes, or in plain memory for
tests and offline use. Every header field is one aligned 8-byte word, written by one side only.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specdiffd.shared.marks import Header, Marks
from specdiffd.shared.sizes import CAPACITY_SAMPLES, CHANNELS, timeline_bytes


class Timeline(Marks):
    """Marks and audio, as views of a buffer of `timeline_bytes`."""

    def __init__(self, buffer: Any = None, capacity: int = CAPACITY_SAMPLES) -> None:
        buffer = bytearray(timeline_bytes(capacity)) if buffer is None else buffer
        self.capacity = capacity
        super().__init__(buffer)
        self._audio: NDArray[np.float32] = np.frombuffer(buffer, np.float32, capacity * CHANNELS, ctypes.sizeof(Header)).reshape(
            capacity, CHANNELS
        )

    def clear(self, playhead: int = 0) -> None:
        """Silence from ``playhead`` on."""
        super().clear(playhead)
        self._audio[:] = 0

    def write(self, at: int, audio: NDArray[np.float32]) -> None:
        """Put (samples, CHANNELS) at ``at``; the caller has made sure that none of it is being read."""
        first = at % self.capacity
        head = min(len(audio), self.capacity - first)
        self._audio[first : first + head] = audio[:head]
        self._audio[: len(audio) - head] = audio[head:]

    def read(self, at: int, samples: int) -> NDArray[np.float32]:
        """A copy of (samples, CHANNELS) as it would be heard: zeros behind the forecast's end."""
        out = np.zeros((samples, CHANNELS), np.float32)
        self._copy(at, out, max(0, min(samples, self.valid_until - at)))
        return out

    def advance(self, out: NDArray[np.float32]) -> int:
        """The callback's read: fill ``out`` (samples, CHANNELS) from the playhead on and move it; returns the missing samples.

        Allocates nothing but a few Python integers.
        """
        header, samples = self.header, len(out)
        at = header.playhead
        there = max(0, min(samples, header.valid_until - at))
        self._copy(at, out, there)
        missing = 0
        if there < samples:
            out[there:] = 0
            if not header.silent:
                missing = samples - there
                header.missing_samples += missing
        header.playhead = at + samples
        return missing

    def peek(self, out: NDArray[np.float32], samples: int) -> None:
        """Copy ``samples`` from the playhead on into ``out`` without moving it."""
        self._copy(self.header.playhead, out, samples)

    def _copy(self, at: int, out: NDArray[np.float32], samples: int) -> None:
        first = at % self.capacity
        head = min(samples, self.capacity - first)
        out[:head] = self._audio[first : first + head]
        out[head:samples] = self._audio[: samples - head]
