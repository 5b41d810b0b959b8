"""MIDI by numbers: kinds of messages, and every controller that reaches an instrument.

Sources: MIDI 1.0; General MIDI level 1 (values after power-up, exclusive drums); RP-015 (what controller 121 resets).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

CHANNELS = 16
DRUM_CHANNEL = 9  # MIDI channel 10, counted from 0

NOTE_OFF, NOTE_ON, POLY_PRESSURE, CONTROL, PROGRAM, PRESSURE, BEND = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
SYSEX, SYSEX_END, ACTIVE_SENSING, SYSTEM_RESET = 0xF0, 0xF7, 0xFE, 0xFF

MODULATION, DATA, VOLUME, EXPRESSION, DATA_FINE, SUSTAIN, REVERB = 1, 6, 7, 11, 38, 64, 91
NRPN_FINE, NRPN, RPN_FINE, RPN = PARAMETER_SELECTION = (98, 99, 100, 101)
DATA_ENTRY = (DATA, DATA_FINE)
ALL_SOUND_OFF, RESET_CONTROLLERS, ALL_NOTES_OFF = 120, 121, 123  # the mode messages, 124 to 127, mean all notes off too
PEDAL_DOWN = 64  # from this value on a pedal is down

EXCLUSIVE_DRUMS = ({42, 44, 46}, {71, 72}, {73, 74}, {78, 79}, {80, 81})  # a note of a group cuts off the other notes of its group
CUT_BY = {pitch: group for group in EXCLUSIVE_DRUMS for pitch in group}


class Controller(NamedTuple):
    """A controller that moves a curve of `events.Controllers`."""

    number: int
    curve: str
    default: int  # after power-up and after every reset
    reset: bool  # whether controller 121 resets it


CONTROLLERS = {
    row.number: row
    for row in (
        Controller(MODULATION, "modulation", 0, True),
        Controller(VOLUME, "gain_db", 100, False),
        Controller(EXPRESSION, "gain_db", 127, True),
        Controller(SUSTAIN, "pedal", 0, True),
        Controller(REVERB, "reverb", 40, False),
    )
}
DEFAULTS = {row.number: row.default for row in CONTROLLERS.values()}
Values = Mapping[int, int]  # of a channel's controllers, by number


def gain_db(volume: int, expression: int) -> float:
    """Channel volume times expression in dB, at least -96: 40 log10 each, the General MIDI recommendation."""
    product = volume * expression / (127.0 * 127.0)
    return max(-96.0, 40.0 * math.log10(product)) if product > 0 else -96.0


# How the value of each curve follows from a channel's controllers.
CURVES: dict[str, Callable[[Values], float]] = {
    "gain_db": lambda values: gain_db(values[VOLUME], values[EXPRESSION]),
    "modulation": lambda values: values[MODULATION] / 127,
    "pedal": lambda values: float(values[SUSTAIN] >= PEDAL_DOWN),
    "reverb": lambda values: values[REVERB] / 127,
}
