"""What travels between the stages: stamped MIDI events, notes, and a performance as a value.

Times are seconds on one clock. Live, that clock is the output stream's sample clock; offline it starts at the
beginning of the file. Nothing here knows where the events came from.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.messages import CHANNELS, CURVES, DEFAULTS


class Event(NamedTuple):
    """One channel message (or 0xFF, reset) at a moment of the sample clock.

    ``port`` is set by a file's meta event 0x21; each port has sixteen channels. Live input is port 0.
    """

    time_s: float
    status: int
    data1: int = 0
    data2: int = 0
    port: int = 0

    @property
    def kind(self) -> int:
        """Message type without its channel."""
        return self.status if self.status >= 0xF0 else self.status & 0xF0

    @property
    def channel(self) -> int:
        """Channel, 0 to 15 of port 0, 16 to 31 of port 1, and so on."""
        return CHANNELS * self.port + (self.status & 0x0F)


@dataclass(slots=True, eq=False)
class Note:
    """A note as it sounds. It is let go at ``offset_s``, by the key or by the pedal, whichever is later.

    ``offset_s`` is infinite while the note is held. ``choke_s`` is infinite unless something cuts the note off (an exclusive
    drum group, all sound off).
    """

    onset_s: float
    pitch: int
    velocity: int
    program: int
    channel: int
    is_drum: bool = False
    offset_s: float = math.inf
    choke_s: float = math.inf
    silent_s: float = math.inf  # the note is silent from then on, because a newer one took its voice

    @property
    def end_s(self) -> float:
        """When it is let go or cut off; infinite while it is held."""
        return min(self.offset_s, self.choke_s)

    def heard_until_s(self, ring_s: float) -> float:
        """When it has rung out, ``ring_s`` after its end."""
        return min(self.end_s + ring_s, self.silent_s)


CURVE_STEP_S = (
    0.0025  # of two changes within a step the later one replaces the earlier; an eighth of a frame, so no frame shows the earlier
)


def _numbers() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Curve:
    """A controller's value over time: constant from each time to the next, ``initial`` before the first."""

    initial: float
    times_s: array[float] = field(default_factory=_numbers)
    values: array[float] = field(default_factory=_numbers)

    @property
    def last(self) -> float:
        """The value now."""
        return self.values[-1] if self.values else self.initial

    def add(self, time_s: float, value: float) -> bool:
        """Append a value; returns whether it differs from the last one. It replaces a change in the same ``CURVE_STEP_S``."""
        if value == self.last:
            return False
        if self.times_s and time_s // CURVE_STEP_S <= self.times_s[-1] // CURVE_STEP_S:
            self.times_s[-1] = max(time_s, self.times_s[-1])
            self.values[-1] = value
            return True
        self.times_s.append(time_s)
        self.values.append(value)
        return True

    def move(self, later_s: float) -> None:
        """Let every change have happened so much later."""
        self.times_s = array("d", (time_s + later_s for time_s in self.times_s))

    def forget(self, before_s: float) -> None:
        """Drop changes that no frame at or after ``before_s`` can see."""
        keep = int(np.searchsorted(self.times_s, before_s, side="right")) - 1
        if keep > 0:
            self.initial = self.values[keep - 1]
            del self.times_s[:keep], self.values[:keep]

    def at(self, times_s: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Values at ``times_s``, any shape."""
        if not self.times_s:
            return np.full(times_s.shape, self.initial, np.float32)
        values = np.concatenate(([self.initial], self.values)).astype(np.float32)
        return values[np.searchsorted(self.times_s, times_s, side="right")]


def _at_rest(curve: str) -> Curve:
    return Curve(CURVES[curve](DEFAULTS))


@dataclass(slots=True)
class Controllers:
    """The curves of one channel that reach the instrument."""

    gain_db: Curve = field(default_factory=lambda: _at_rest("gain_db"))
    pitch_semitones: Curve = field(default_factory=lambda: Curve(0.0))  # bend and tuning
    modulation: Curve = field(default_factory=lambda: _at_rest("modulation"))
    pedal: Curve = field(default_factory=lambda: _at_rest("pedal"))
    reverb: Curve = field(default_factory=lambda: _at_rest("reverb"))

    @property
    def curves(self) -> tuple[Curve, ...]:
        """All of them."""
        return self.gain_db, self.pitch_semitones, self.modulation, self.pedal, self.reverb


class Performance(NamedTuple):
    """A score as a value: the notes in order of onset, and each channel's controllers."""

    notes: Sequence[Note]
    controllers: Mapping[int, Controllers]
    length_s: float = 0.0  # of the file, if there is one, which may go on after the last note; else 0

    @property
    def end_s(self) -> float:
        """When the last note is let go; 0 without notes. A held note counts with its onset."""
        return max((n.offset_s if math.isfinite(n.offset_s) else n.onset_s for n in self.notes), default=0.0)
