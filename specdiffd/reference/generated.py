"""Generated music, for what songs do not cover: every program and pitch, all velocities, single and long notes, fast repeats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from specdiffd.base.events import Event
from specdiffd.reference.drums import drum_hits, drum_pattern
from specdiffd.reference.parts import Rng, melodic_channels, note, order, set_up, velocities


def generated_piece(rng: Rng, duration_s: float) -> list[Event]:
    """One to six parts of random texture."""
    parts = int(rng.choice([1, 1, 1, 2, 2, 3, 4, 6]))
    events: list[Event] = []
    for channel in melodic_channels(rng)[:parts]:
        events += set_up(rng, channel, duration_s)
        texture: Callable[[Rng, int, float], list[Event]] = rng.choice(
            np.array([_lines, _lines, _chords, _repeats, _isolated, _isolated, _long_notes])
        )
        events += texture(rng, channel, duration_s)
    if rng.random() < 0.35:
        events += drum_hits(rng, duration_s) if rng.random() < 0.5 else drum_pattern(rng, duration_s)
    return sorted(events, key=order)


def _lines(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    """A melodic line whose notes have related lengths."""
    events: list[Event] = []
    t, pitch, velocity = float(rng.uniform(0, 1)), int(rng.integers(36, 92)), velocities(rng)
    beat, legato = float(np.exp(rng.uniform(np.log(0.08), np.log(1.2)))), float(rng.uniform(0.2, 1.2))
    while t < duration_s:
        step = beat * float(rng.choice([0.5, 1, 1, 2]))
        if rng.random() < 0.85:
            events += note(channel, t, step * legato, pitch, velocity())
        pitch = int(np.clip(pitch + rng.integers(-7, 8), 21, 108))
        t += step
    return events


def _chords(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    events: list[Event] = []
    t, velocity = float(rng.uniform(0, 1)), velocities(rng)
    while t < duration_s:
        step, low = float(np.exp(rng.uniform(np.log(0.2), np.log(4.0)))), int(rng.integers(30, 80))
        pitches = low + np.unique(np.cumsum(rng.integers(1, 8, size=int(rng.integers(2, 8)))))
        roll = float(rng.choice([0, 0, 0.02]))
        for k, pitch in enumerate(p for p in pitches if p <= 108):
            events += note(channel, t + roll * k + abs(rng.normal(0, 0.003)), step * float(rng.uniform(0.5, 1.0)), int(pitch), velocity())
        t += step
    return events


def _repeats(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    events: list[Event] = []
    t, velocity = float(rng.uniform(0, 1)), velocities(rng)
    while t < duration_s:
        pitch, step = int(rng.integers(28, 100)), float(rng.uniform(0.05, 0.25))
        for _ in range(int(rng.integers(2, 12))):
            events += note(channel, t, step * float(rng.uniform(0.3, 0.95)), pitch, velocity())
            t += step
        t += float(rng.exponential(0.3))
    return events


def _isolated(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    """Single notes over the whole keyboard, each left to ring out."""
    events: list[Event] = []
    t = float(rng.uniform(0, 1))
    while t < duration_s:
        length = float(np.exp(rng.uniform(np.log(0.03), np.log(4.0))))
        events += note(channel, t, length, int(rng.integers(21, 109)), float(rng.uniform(10, 127)))
        t += length + float(rng.uniform(0.05, 1.5))
    return events


def _long_notes(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    events: list[Event] = []
    t = 0.0
    while t < duration_s:
        for pitch in rng.integers(28, 96, size=int(rng.integers(1, 4))):
            events += note(channel, t + float(rng.uniform(0, 1)), float(rng.uniform(3, 18)), int(pitch), float(rng.uniform(30, 120)))
        t += float(rng.uniform(4, 16))
    return events
