"""Building blocks of generated music: notes, programs, controllers of a channel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from specdiffd.base.events import Event
from specdiffd.base.messages import BEND, CONTROL, DRUM_CHANNEL, NOTE_OFF, NOTE_ON, PROGRAM

Rng = np.random.Generator
# The programs that people play most. Half of all parts are drawn from these, the rest from all 128 programs.
COMMON_PROGRAMS = (
    *(0, 0, 0, 1, 4, 5, 16, 19),  # pianos and organs
    *(24, 25, 26, 27, 29, 30, 32, 33, 38),  # guitars and basses
    *(40, 41, 42, 46, 48, 48, 49, 52),  # strings, harp, choir
    *(56, 57, 60, 61, 65, 66, 68, 71, 73, 73),  # brass and woodwinds
    *(80, 81, 88, 89),  # synthesizers
)
KIT = range(35, 82)


def random_program(rng: Rng) -> int:
    """A General MIDI program, 0 to 127."""
    return int(rng.choice(COMMON_PROGRAMS)) if rng.random() < 0.5 else int(rng.integers(128))


def order(event: Event) -> tuple[float, int]:
    """Sort key of events: by time, and at one moment note-offs and controllers before note-ons."""
    return event.time_s, event.kind == NOTE_ON


def note(channel: int, onset_s: float, length_s: float, pitch: int, velocity: float) -> list[Event]:
    """A note-on and its note-off."""
    strength = int(np.clip(round(velocity), 1, 127))
    return [
        Event(onset_s, NOTE_ON | channel, pitch, strength),
        Event(onset_s + max(0.01, length_s), NOTE_OFF | channel, pitch, 0),
    ]


def melodic_channels(rng: Rng) -> list[int]:
    """All channels except the drum channel, in random order."""
    return [int(c) for c in rng.permutation([c for c in range(16) if c != DRUM_CHANNEL])]


def set_up(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    """Program, and sometimes volume, expression, modulation, bend and pedal over the length of the piece."""
    events = [Event(0.0, PROGRAM | channel, random_program(rng))]
    if rng.random() < 0.3:
        events.append(Event(0.0, CONTROL | channel, 7, int(rng.integers(50, 128))))
    if rng.random() < 0.15:
        events += _wander(rng, duration_s, lambda t, u: Event(t, CONTROL | channel, 11, int(40 + 87 * u)))
    if rng.random() < 0.08:
        events += _wander(rng, duration_s, lambda t, u: Event(t, CONTROL | channel, 1, int(127 * u)))
    if rng.random() < 0.05:
        events += _wander(rng, duration_s, lambda t, u: Event(t, BEND | channel, 0, int(127 * u)))
    if rng.random() < 0.3:
        t = float(rng.uniform(0, 2))
        while t < duration_s:
            down = float(rng.uniform(0.2, 3.0))
            events += [Event(t, CONTROL | channel, 64, 127), Event(t + down, CONTROL | channel, 64, 0)]
            t += down + float(rng.uniform(0.05, 1.0))
    return events


def _wander(rng: Rng, duration_s: float, event: Callable[[float, float], Event]) -> list[Event]:
    """Glides between random values in steps of 20 ms, with rests."""
    events, t, u = [], 0.0, 0.5
    while t < duration_s:
        target, glide = float(rng.random()), float(rng.uniform(0.05, 1.5))
        events += [event(t + s, u + (target - u) * s / glide) for s in np.arange(0, glide, 0.02)]
        u = target
        t += glide + float(rng.exponential(1.0))
    return events


def velocities(rng: Rng) -> Callable[[], float]:
    """A function that draws velocities, 5 to 127, around a level that is drawn once for the part."""
    centre, spread = rng.uniform(30, 115), rng.uniform(2, 30)
    return lambda: float(np.clip(rng.normal(centre, spread), 5, 127))
