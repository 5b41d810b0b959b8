"""MIDI events to a score: held notes, sustain pedal, programs, controllers.

One score type serves live input (events as they come) and files (all events at once).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from specdiffd.events import (
    BEND,
    CHANNELS,
    CONTROL,
    DRUM_CHANNEL,
    NOTE_OFF,
    NOTE_ON,
    PROGRAM,
    SYSTEM_RESET,
    Controllers,
    Event,
    Note,
    Performance,
    gain_db,
)

# General MIDI level 1 percussion: a note of a group cuts the others of its group off.
EXCLUSIVE_DRUMS = ({42, 44, 46}, {71, 72}, {73, 74}, {78, 79}, {80, 81})
_EXCLUSIVE = {pitch: group for group in EXCLUSIVE_DRUMS for pitch in group}


@dataclass(slots=True)
class _Channel:
    """What a channel remembers between messages."""

    program: int = 0
    pedal: bool = False
    volume: int = 100
    expression: int = 127
    bend: int = 8192
    bend_range_semitones: float = 2.0
    rpn: tuple[int, int] = (127, 127)
    held: dict[int, Note] = field(default_factory=dict)  # key down
    sustained: dict[int, Note] = field(default_factory=dict)  # key up, pedal down


def choke_drums(notes: Sequence[Note]) -> None:
    """Let each drum of an exclusive group cut the earlier ones of its group off; ``notes`` in order of onset."""
    last: dict[tuple[int, int], Note] = {}
    for note in notes:
        for pitch in _EXCLUSIVE.get(note.pitch, ()) if note.is_drum else ():
            earlier = last.pop((note.channel, pitch), None)
            if earlier is not None:
                earlier.choke_s = min(earlier.choke_s, note.onset_s)
        if note.is_drum:
            last[note.channel, note.pitch] = note


class Score:
    """What has been played so far.

    ``apply`` takes events in order of time; ``performance`` is what a window is made from. Notes that ended longer
    than any window can see are dropped by ``forget``.
    """

    def __init__(self) -> None:
        self._notes: list[Note] = []
        self._controllers = {c: Controllers() for c in range(CHANNELS)}
        self._channels = [_Channel() for _ in range(CHANNELS)]

    @property
    def performance(self) -> Performance:
        """The notes and controllers remembered, shared with the score (read only)."""
        return Performance(self._notes, self._controllers)

    def sounding(self, time_s: float) -> list[Note]:
        """Notes held (by key or pedal) at ``time_s``."""
        return [n for n in self._notes if n.onset_s <= time_s < min(n.offset_s, n.choke_s)]

    def program(self, channel: int) -> int:
        """The program that ``channel`` plays now."""
        return self._channels[channel].program

    def apply(self, event: Event) -> None:
        """Take one event. Messages the instrument has no use for are ignored."""
        if event.status == SYSTEM_RESET:
            for number in range(CHANNELS):
                self._all_sound_off(number, event.time_s)
                self._reset_controllers(number, event.time_s)
                self._channels[number].program = 0
            return
        number, kind = event.channel, event.kind
        if kind == NOTE_ON and event.data2 > 0:
            self._note_on(number, event.data1, event.data2, event.time_s)
        elif kind in (NOTE_ON, NOTE_OFF):
            self._note_off(number, event.data1, event.time_s)
        elif kind == PROGRAM:
            self._channels[number].program = event.data1
        elif kind == BEND:
            self._channels[number].bend = event.data1 | event.data2 << 7
            self._update_bend(number, event.time_s)
        elif kind == CONTROL:
            self._control(number, event.data1, event.data2, event.time_s)

    def extend(self, events: Iterable[Event]) -> Score:
        """Apply ``events`` in order; returns self."""
        for event in events:
            self.apply(event)
        return self

    def forget(self, before_s: float) -> None:
        """Drop what ended (with its release) before ``before_s``; held notes stay."""
        self._notes = [n for n in self._notes if min(n.offset_s, n.choke_s) >= before_s]
        for controllers in self._controllers.values():
            for curve in (controllers.gain_db, controllers.bend_semitones, controllers.modulation, controllers.pedal, controllers.reverb):
                curve.forget(before_s)

    def _note_on(self, number: int, pitch: int, velocity: int, time_s: float) -> None:
        channel = self._channels[number]
        is_drum = number == DRUM_CHANNEL
        self._end(channel.held.pop(pitch, None), time_s)
        self._end(channel.sustained.pop(pitch, None), time_s)
        if is_drum:
            for other in _EXCLUSIVE.get(pitch, ()):
                self._choke(number, other, time_s)
        note = Note(time_s, pitch, velocity, channel.program, number, is_drum)
        channel.held[pitch] = note
        self._notes.append(note)

    def _note_off(self, number: int, pitch: int, time_s: float) -> None:
        channel = self._channels[number]
        note = channel.held.pop(pitch, None)
        if note is not None and channel.pedal:
            channel.sustained[pitch] = note
        else:
            self._end(note, time_s)

    def _control(self, number: int, control: int, value: int, time_s: float) -> None:
        channel, curves = self._channels[number], self._controllers[number]
        if control == 64:
            channel.pedal = value >= 64
            curves.pedal.add(time_s, float(channel.pedal))
            if not channel.pedal:
                self._release_sustained(number, time_s)
        elif control in (7, 11):
            if control == 7:
                channel.volume = value
            else:
                channel.expression = value
            curves.gain_db.add(time_s, gain_db(channel.volume, channel.expression))
        elif control == 1:
            curves.modulation.add(time_s, value / 127)
        elif control == 91:
            curves.reverb.add(time_s, value / 127)
        elif control in (100, 101):
            channel.rpn = (value, channel.rpn[1]) if control == 101 else (channel.rpn[0], value)
        elif control in (6, 38) and channel.rpn == (0, 0):
            semitones, cents = divmod(channel.bend_range_semitones, 1)
            channel.bend_range_semitones = value + cents if control == 6 else semitones + min(value, 99) / 100
            self._update_bend(number, time_s)
        elif control == 120:
            self._all_sound_off(number, time_s)
        elif control == 121:
            self._reset_controllers(number, time_s)
        elif control >= 123:  # all notes off; the mode messages imply it
            for pitch in list(channel.held):
                self._note_off(number, pitch, time_s)

    def _update_bend(self, number: int, time_s: float) -> None:
        channel = self._channels[number]
        semitones = (channel.bend - 8192) / 8192 * channel.bend_range_semitones
        self._controllers[number].bend_semitones.add(time_s, semitones)

    def _reset_controllers(self, number: int, time_s: float) -> None:
        """CC 121 as RP-015 has it: volume, pan and program stay."""
        channel = self._channels[number]
        channel.expression, channel.bend, channel.rpn = 127, 8192, (127, 127)
        self._control(number, 64, 0, time_s)
        self._control(number, 1, 0, time_s)
        self._control(number, 11, 127, time_s)
        self._update_bend(number, time_s)

    def _release_sustained(self, number: int, time_s: float) -> None:
        channel = self._channels[number]
        for note in channel.sustained.values():
            self._end(note, time_s)
        channel.sustained.clear()

    def _all_sound_off(self, number: int, time_s: float) -> None:
        channel = self._channels[number]
        for note in self._notes:
            if note.channel == number and not note.choke_s <= time_s:
                note.choke_s = time_s
                note.offset_s = min(note.offset_s, time_s)
        channel.held.clear()
        channel.sustained.clear()

    def _choke(self, number: int, pitch: int, time_s: float) -> None:
        channel = self._channels[number]
        self._end(channel.held.pop(pitch, None), time_s)
        self._end(channel.sustained.pop(pitch, None), time_s)
        for note in reversed(self._notes):
            if note.channel == number and note.pitch == pitch:
                note.choke_s = min(note.choke_s, time_s)
                break

    @staticmethod
    def _end(note: Note | None, time_s: float) -> None:
        if note is not None and math.isinf(note.offset_s):
            note.offset_s = time_s
