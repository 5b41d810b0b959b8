"""Where things are in the audio timeline, and when: the words that the processes tell each other. No NumPy: the supervisor reads them."""

from __future__ import annotations

import ctypes
import time
from typing import Any

from specdiffd.base.clock import ClockState
from specdiffd.shared.words import words


@words
class Header(ctypes.Structure):
    """What the sides tell each other; each word is written by one of them only."""

    # written by the reader (I/O process)
    playhead: int  # the next sample to be read
    missing_samples: int  # read where there was no forecast, outside silence
    missing_runs: int  # how many times that began
    resting_blocks: int  # of silence on purpose that may be played without another look at anything
    xruns: int
    clock_version: int  # odd while the clock is being written
    clock_sample: float
    clock_time_ns: float
    clock_rate_hz: float
    clock_early_s: float  # by how much callbacks have come before the clock's time
    clock_start: int  # the playhead when the stream began to play
    output_latency_s: float
    limited_blocks: int
    peak: float  # of what was played, slowly decaying
    io_alive_ns: int
    sample_rate_hz: int  # of the stream; 0 before there is one
    muted_panics: int  # of ``panics``, since which nothing has been heard
    # written by the engine
    valid_until: int  # the forecast ends here
    silent: int  # 1: behind valid_until there is silence on purpose
    engine_alive_ns: int
    handled_panics: int  # of ``panics``, that the forecast knows of
    # written by the supervisor
    gain: float  # linear, the reader ramps to it
    running: int  # 0: the reader fades out
    panics: int  # asked for: silence at once
    panic_ns: int  # when the last one was, on the monotonic clock


class Marks:
    """The header of a timeline's memory. All positions are absolute sample numbers."""

    def __init__(self, buffer: Any) -> None:
        self.header = Header.from_buffer(buffer)

    def clear(self, playhead: int = 0) -> None:
        """As before anything was played: silence from ``playhead`` on."""
        ctypes.memset(ctypes.addressof(self.header), 0, ctypes.sizeof(Header))
        self.header.playhead = self.header.valid_until = playhead
        self.header.silent = 1
        self.header.gain = 1.0
        self.header.running = 1

    @property
    def playhead(self) -> int:
        """The next sample that will be read."""
        return self.header.playhead

    @property
    def valid_until(self) -> int:
        """Where the forecast ends."""
        return self.header.valid_until

    @property
    def ahead(self) -> int:
        """Samples of the forecast that are yet to be read."""
        return max(0, self.valid_until - self.playhead)

    @property
    def silent(self) -> bool:
        """Whether the end of the forecast is followed by silence on purpose."""
        return bool(self.header.silent)

    def publish(self, valid_until: int, silent: bool) -> None:
        """Move the end of the forecast. Call after the audio before it is written."""
        # Order matters to a reader between the two stores: it may see too little audio, never stale audio.
        if silent:
            self.header.valid_until = valid_until
            self.header.silent = 1
        else:
            self.header.silent = 0
            self.header.valid_until = valid_until

    def discard(self) -> None:
        """Let the forecast end where it is read; call it while no engine is there."""
        self.publish(self.playhead, self.silent)

    def safe_from(self, block_samples: int, guard_samples: int) -> int:
        """The first sample that no callback reads within ``guard_samples`` from now, by the clock.

        Everything before it may be read while it is being written. A splice may begin there.
        """
        playhead, clock = self.playhead, self.clock()
        if clock is None:
            return playhead + guard_samples
        # The clock counts on while callbacks come in blocks: the next one is due when it gets to the playhead.
        left = playhead - clock.sample_at(time.monotonic_ns()) - self.header.clock_early_s * clock.rate_hz
        return playhead + (block_samples if left < guard_samples else 0)

    def set_clock(self, clock: ClockState) -> None:
        """Written by the callback."""
        header = self.header
        version = header.clock_version // 2 * 2  # odd: a process died here
        header.clock_version = version + 1
        header.clock_sample, header.clock_time_ns, header.clock_rate_hz = clock
        header.clock_version = version + 2

    @property
    def panicking(self) -> bool:
        """Whether a panic waits for the engine: until then the reader is mute."""
        return self.header.panics != self.header.handled_panics

    @property
    def at_rest(self) -> bool:
        """Whether silence on purpose is played."""
        return self.silent and self.playhead >= self.valid_until

    def stop_clock(self) -> None:
        """Written by the supervisor when nobody plays any more: there is no clock until somebody does again."""
        self.set_clock(ClockState(0.0, 0.0, 0.0))

    def clock(self) -> ClockState | None:
        """The callback's latest clock; None before the first callback."""
        header = self.header
        for _ in range(1000):  # a torn read is a matter of microseconds
            before = header.clock_version
            state = ClockState(header.clock_sample, header.clock_time_ns, header.clock_rate_hz)
            if before % 2 == 0 and before == header.clock_version:
                return state if state.rate_hz > 0 else None
        return None
