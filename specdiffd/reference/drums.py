"""Random drum parts."""

from __future__ import annotations

import numpy as np

from specdiffd.base.events import Event
from specdiffd.base.messages import DRUM_CHANNEL
from specdiffd.reference.parts import KIT, Rng, note


def drum_hits(rng: Rng, duration_s: float) -> list[Event]:
    """Random strokes on the whole kit."""
    events: list[Event] = []
    t, rate = 0.0, float(rng.uniform(1.5, 8))
    while t < duration_s:
        events += note(DRUM_CHANNEL, t, float(rng.uniform(0.03, 0.5)), int(rng.integers(KIT.start, KIT.stop)), float(rng.uniform(20, 127)))
        t += float(rng.exponential(1 / rate)) + 0.02
    return events


def drum_pattern(rng: Rng, duration_s: float) -> list[Event]:
    """A bar of sixteenths, repeated with small changes."""
    step = 60 / float(rng.uniform(60, 180)) / 4
    voices = [
        int(rng.choice([35, 36])),
        int(rng.choice([38, 40, 37, 39])),
        int(rng.choice([42, 44, 51])),
        46,
        *rng.integers(41, 82, size=2).tolist(),
    ]
    density = np.array([0.25, 0.18, 0.6, 0.08, 0.06, 0.06])
    grid = rng.random((6, 16)) < density[:, None]
    grid[0, 0] = grid[1, [4, 12]] = True
    loud, swing = rng.uniform(40, 120, size=6), float(rng.choice([0, 0, 0.15]))
    events: list[Event] = []
    t = float(rng.uniform(0, step))
    while t < duration_s:
        for s in range(16):
            for v in range(6):
                if grid[v, s] != (rng.random() < 0.02):
                    at = t + step * (s + swing * (s % 2)) + abs(float(rng.normal(0, 0.003)))
                    events += note(DRUM_CHANNEL, at, step * 0.9, voices[v], loud[v] + rng.normal(0, 8))
        t += 16 * step
    return events
