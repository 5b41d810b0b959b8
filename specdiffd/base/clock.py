"""The sample clock: which sample the output stream was at, at a moment of the monotonic clock."""

from __future__ import annotations

import math
from typing import NamedTuple

NS_PER_S = 1_000_000_000


class ClockState(NamedTuple):
    """The stream was at sample ``sample`` at ``time_ns``, and advances by ``rate_hz``."""

    sample: float
    time_ns: float
    rate_hz: float

    def sample_at(self, time_ns: int) -> float:
        """The sample at a moment near ``time_ns``."""
        return self.sample + (time_ns - self.time_ns) * self.rate_hz / NS_PER_S


class SampleClock:
    """A delay-locked loop over the callback's times (F. Adriaensen, "Using a DLL to filter time", 2005).

    Callbacks wake up late by random amounts; the filtered clock does not jump with them.
    """

    BANDWIDTH_HZ = 0.5
    MOST = 0.02  # of the loop's correction: where updates are far apart, in rest, one of them says no more than usual
    RESET_S = 0.25  # a jump beyond this is a new start (suspend, server restart), not jitter

    def __init__(self, sample_rate_hz: float) -> None:
        self._nominal_hz = sample_rate_hz
        self._state: ClockState | None = None

    def early_s(self, sample: int, time_ns: int) -> float:
        """By how much the callback for the block beginning at ``sample`` comes before the clock expects it; 0 at a new start."""
        if self._state is None:
            return 0.0
        early_s = (sample - self._state.sample_at(time_ns)) / self._state.rate_hz
        return early_s if 0 < early_s < self.RESET_S else 0.0

    def update(self, sample: int, time_ns: int) -> ClockState:
        """The callback for the block beginning at ``sample`` ran at ``time_ns``."""
        state = self._state
        if state is None or sample <= state.sample or abs(state.sample_at(time_ns) - sample) > self.RESET_S * self._nominal_hz:
            self._state = ClockState(float(sample), float(time_ns), self._nominal_hz)
            return self._state
        elapsed_s = (sample - state.sample) / state.rate_hz
        predicted_ns = state.time_ns + elapsed_s * NS_PER_S
        error_ns = time_ns - predicted_ns
        omega = min(self.MOST, 2 * math.pi * self.BANDWIDTH_HZ * elapsed_s)
        filtered_ns = predicted_ns + math.sqrt(2) * omega * error_ns
        period_s = elapsed_s + omega * omega * error_ns / NS_PER_S
        rate_hz = (sample - state.sample) / period_s
        # A sound card is within 1 % of its name; a wilder estimate is a loaded machine.
        rate_hz = min(max(rate_hz, 0.99 * self._nominal_hz), 1.01 * self._nominal_hz)
        self._state = ClockState(float(sample), filtered_ns, rate_hz)
        return self._state
