"""Durations and their percentiles, for status, logs and benches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np


class Durations:
    """The last ``size`` durations, and their percentiles."""

    def __init__(self, size: int = 512) -> None:
        self._values: deque[float] = deque(maxlen=size)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Record a duration."""
        self._values.append(seconds)
        self.count += 1

    def percentile_ms(self, percent: float) -> float | None:
        """A percentile of the kept durations in milliseconds; None if there are none."""
        return float(np.percentile(self._values, percent)) * 1e3 if self._values else None

    def summary(self) -> dict[str, float | int | None]:
        """``count`` of all durations, and ``min_ms``, ``p50_ms``, ``p99_ms``, ``max_ms`` of the kept ones."""
        return {"count": self.count, **summary_ms(self._values)}


def summary_ms(seconds: Iterable[float]) -> dict[str, float | None]:
    """Minimum, median, 99th percentile and maximum in milliseconds."""
    values, points = np.fromiter(seconds, float), {"min_ms": 0, "p50_ms": 50, "p99_ms": 99, "max_ms": 100}
    return {name: round(float(np.percentile(values, p)) * 1e3, 3) if len(values) else None for name, p in points.items()}


class Stopwatch:
    """Splits the time of one piece of work into laps by name, in seconds.

    Args:
        settle: called before a lap ends, to wait for a GPU; without it a lap only measures how long it takes to queue the work.
    """

    def __init__(self, settle: Callable[[], object] = lambda: None) -> None:
        self.laps: dict[str, float] = {}
        self._settle = settle
        self._last = time.perf_counter()

    def start(self) -> None:
        """Forget earlier laps; the first lap begins now."""
        self.laps = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a lap: the time since the last one counts as ``name``. Laps of the same name add up."""
        self._settle()
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        """For logs: each lap's name and milliseconds."""
        return ", ".join(f"{name} {seconds * 1e3:.1f}" for name, seconds in self.laps.items())
