"""MIDI events to a score: held notes, sustain pedal, programs, controllers.

One score type serves live input (events as they come) and files (their events in order).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from specdiffd.base.events import (
    BEND,
    CHANNELS,
    CONTROL,
    DRUM_CHANNEL,
    EXPRESSION,
    NOTE_OFF,
    NOTE_ON,
    PROGRAM,
    REVERB,
    SYSTEM_RESET,
    VOLUME,
    Controllers,
    Event,
    Note,
    Performance,
    gain_db,
)

# General MIDI level 1 percussion: a note of a group cuts the others of its group off.
EXCLUSIVE_DRUMS = ({42, 44, 46}, {71, 72}, {73, 74}, {78, 79}, {80, 81})
CUT_BY = {pitch: group for group in EXCLUSIVE_DRUMS for pitch in group}
SHORTEST_S = 0.01  # of a note: drum machines write on and off at one moment; shorter ones than this no instrument was trained with
RING_S = 3.0  # after its end a note counts as heard
VOICES = 256  # heard at a time, as in FluidSynth: what a revision costs grows with them (17 ms of note prior for ten frames)
STOLEN_S = 0.06  # until a note whose voice is stolen is silent: three frames, so that nothing clicks
KEPT_NOTES = 1024  # that have ended, of a score that forgets: more than a window has tokens for
BEND_RANGE, FINE_TUNING, COARSE_TUNING = (0, 0), (0, 1), (0, 2)  # registered parameters: controllers 101 and 100
CENTRE = 8192  # of 14 bits


@dataclass(slots=True)
class _Channel:
    """What a channel remembers between messages. The defaults are what a reset makes of it."""

    program: int = 0
    pedal: bool = False
    volume: int = VOLUME
    expression: int = EXPRESSION
    bend: int = CENTRE
    bend_range_semitones: float = 2.0
    tuning_semitones: float = 0.0
    transposition_semitones: int = 0
    parameter: tuple[int, int] | None = None  # registered, that data entry goes to
    selected: tuple[int, int] = (127, 127)  # as the last controllers 101 and 100 said
    data: tuple[int, int] = (0, 0)  # entered since then: controllers 6 and 38, in either order
    held: dict[int, Note] = field(default_factory=dict)  # key down
    sustained: dict[int, Note] = field(default_factory=dict)  # key up, pedal down

    @property
    def pitch_semitones(self) -> float:
        """By how much notes are off their keys."""
        bent = (self.bend - CENTRE) / CENTRE * self.bend_range_semitones
        return bent + self.tuning_semitones + self.transposition_semitones


class Score:
    """What has been played so far.

    ``apply`` takes events in order of time; ``performance`` is what a window is made from. Notes that ended longer
    than any window can see are dropped by ``forget``.

    Args:
        kept_notes: how many that are over are remembered at most, the newest; None: all, until ``forget``.
    """

    def __init__(self, kept_notes: int | None = None) -> None:
        self._kept_notes = kept_notes
        self._notes: list[Note] = []
        self._heard: dict[Note, None] = {}  # of them those that still may be, in order
        self._ended: deque[Note] = deque()  # of those, the ones that have ended, in that order
        self._controllers: dict[int, Controllers] = {}
        self._channels: dict[int, _Channel] = {}
        self.stolen_notes = 0  # cut off since too many were heard

    @property
    def performance(self) -> Performance:
        """The notes and controllers remembered, shared with the score (read only)."""
        return Performance(self._notes, self._controllers)

    def sounding(self, time_s: float) -> list[Note]:
        """Notes held (by key or pedal) at ``time_s``."""
        return [n for n in self._heard if n.onset_s <= time_s < n.end_s]

    def program(self, channel: int) -> int:
        """The program that ``channel`` plays now."""
        return self._channels[channel].program if channel in self._channels else 0

    @property
    def channels(self) -> Mapping[int, _Channel]:
        """The channels that have had a message."""
        return self._channels

    def apply(self, event: Event) -> bool:
        """Take one event; returns whether it changes what is heard. Messages the instrument has no use for are ignored."""
        number, kind = event.channel, event.kind
        if event.status == SYSTEM_RESET:
            return self._reset(event.port, event.time_s)
        if kind == NOTE_ON and event.data2 > 0:
            return self._note_on(number, event.data1, event.data2, event.time_s)
        if kind in (NOTE_ON, NOTE_OFF):
            return self._note_off(number, event.data1, event.time_s)
        if kind == PROGRAM:
            self._channel(number).program = event.data1
        elif kind == BEND:
            self._channel(number).bend = event.data1 | event.data2 << 7
            return self._update_pitch(number, event.time_s)
        elif kind == CONTROL:
            return self._control(number, event.data1, event.data2, event.time_s)
        return False

    def extend(self, events: Iterable[Event]) -> Score:
        """Apply ``events`` in order; returns self."""
        for event in events:
            self.apply(event)
        return self

    def release_all(self, time_s: float) -> bool:
        """Every key and pedal is let go; returns whether that changes what is heard."""
        changed = [
            self._control(number, control, 0, time_s) for number, c in self._channels.items() if c.held or c.pedal for control in (64, 123)
        ]
        return any(changed)

    def panic(self, time_s: float) -> None:
        """No note is remembered, and every channel's controllers are reset; programs and volumes stay."""
        for number in self._channels:
            self._all_sound_off(number, time_s)
            self._reset_controllers(number, time_s)
        self._notes, self._heard, self._ended = [], {}, deque()

    def forget(self, notes_before_s: float, controllers_before_s: float) -> None:
        """Drop notes that ended before the one moment, and controllers' values that were over before the other."""
        self._notes = [n for n in self._notes if n.end_s >= notes_before_s]
        for controllers in self._controllers.values():
            for curve in controllers.curves:
                curve.forget(controllers_before_s)

    def move(self, later_s: float) -> None:
        """Everything happened so much later: the stream's time has jumped."""
        for note in self._notes:
            note.onset_s += later_s
            note.offset_s += later_s
            note.choke_s += later_s
            note.silent_s += later_s
        for controllers in self._controllers.values():
            for curve in controllers.curves:
                curve.move(later_s)

    def discard(self, since_s: float) -> None:
        """Drop notes that began at or after ``since_s`` and have been let go since: nobody could hear them."""
        for note in [n for n in self._heard if n.onset_s >= since_s and math.isfinite(n.end_s)]:
            self._drop(note)

    # -- notes ---------------------------------------------------------------------------------------------------

    def _note_on(self, number: int, pitch: int, velocity: int, time_s: float) -> bool:
        channel = self._channel(number)
        is_drum = number % CHANNELS == DRUM_CHANNEL
        for earlier in (channel.held.pop(pitch, None), channel.sustained.pop(pitch, None)):
            if earlier is not None:
                self._strike_again(earlier, time_s)
        if is_drum:
            for other in CUT_BY.get(pitch, ()):
                self._choke(number, other, time_s)
        note = channel.held[pitch] = Note(time_s, pitch, velocity, channel.program, number, is_drum)
        self._notes.append(note)
        self._heard[note] = None
        self._limit(time_s)
        return True

    def _strike_again(self, earlier: Note, time_s: float) -> None:
        """A note of the same key begins; one that began at the same moment was the same stroke."""
        self._end(earlier, time_s)
        if earlier.onset_s == time_s:
            self._drop(earlier)

    def _drop(self, note: Note) -> None:
        """As if it had never been played."""
        self._notes = [n for n in self._notes if n is not note]
        self._heard.pop(note, None)

    def _end(self, note: Note, time_s: float) -> None:
        if math.isinf(note.offset_s):
            note.offset_s = max(time_s, note.onset_s + SHORTEST_S)
            self._ended.append(note)

    def _note_off(self, number: int, pitch: int, time_s: float) -> bool:
        channel = self._channel(number)
        note = channel.held.pop(pitch, None)
        if note is None:
            return False
        if channel.pedal:
            channel.sustained[pitch] = note
            return False
        self._end(note, time_s)
        return True

    def _limit(self, time_s: float) -> None:
        """No more than ``VOICES`` are heard: those that ended first are cut off first, then the oldest."""
        while self._ended and self._ended[0].end_s + RING_S < time_s:
            self._heard.pop(self._ended.popleft(), None)
        while len(self._heard) > VOICES:
            stolen = self._ended.popleft() if self._ended else next(iter(self._heard))
            if stolen in self._heard:
                del self._heard[stolen]
                self._cut(stolen, time_s)
                stolen.silent_s = time_s + STOLEN_S
                self.stolen_notes += 1
        if self._kept_notes is not None and len(self._notes) > 2 * self._kept_notes + VOICES:
            dropped = set([n for n in self._notes if n not in self._heard][: -self._kept_notes])
            self._notes = [n for n in self._notes if n not in dropped]

    def _cut(self, note: Note, time_s: float) -> None:
        """At once, without its release."""
        if math.isinf(note.end_s):
            self._ended.append(note)
        note.choke_s = min(note.choke_s, time_s)
        note.offset_s = min(note.offset_s, time_s)
        channel = self._channels[note.channel]
        for notes in (channel.held, channel.sustained):
            if notes.get(note.pitch) is note:
                del notes[note.pitch]

    def _choke(self, number: int, pitch: int, time_s: float) -> None:
        for note in self._heard:
            if note.channel == number and note.pitch == pitch and note.choke_s > time_s:
                self._cut(note, time_s)

    def _all_sound_off(self, number: int, time_s: float) -> bool:
        cut = [n for n in self._heard if n.channel == number and n.choke_s > time_s and n.end_s + RING_S >= time_s]
        for note in cut:
            self._cut(note, time_s)
        channel = self._channel(number)
        channel.held.clear()
        channel.sustained.clear()
        return bool(cut)

    def _release_sustained(self, number: int, time_s: float) -> bool:
        channel = self._channel(number)
        released = list(channel.sustained.values())
        for note in released:
            self._end(note, time_s)
        channel.sustained.clear()
        return bool(released)

    # -- controllers ---------------------------------------------------------------------------------------------

    def _channel(self, number: int) -> _Channel:
        """What is remembered of a channel; its first message makes it."""
        if number not in self._channels:
            self._channels[number], self._controllers[number] = _Channel(), Controllers()
        return self._channels[number]

    def _is_heard(self, number: int, time_s: float) -> bool:
        return any(n.channel == number and n.end_s + RING_S >= time_s for n in self._heard)

    def _control(self, number: int, control: int, value: int, time_s: float) -> bool:
        channel = self._channel(number)
        curves = self._controllers[number]
        changed = False
        if control == 64:
            channel.pedal = value >= 64
            changed = curves.pedal.add(time_s, float(channel.pedal))
            if not channel.pedal:
                changed |= self._release_sustained(number, time_s)
        elif control in (7, 11):
            if control == 7:
                channel.volume = value
            else:
                channel.expression = value
            changed = curves.gain_db.add(time_s, gain_db(channel.volume, channel.expression))
        elif control == 1:
            changed = curves.modulation.add(time_s, value / 127)
        elif control == 91:
            changed = curves.reverb.add(time_s, value / 127)
        elif control in (98, 99, 100, 101):
            self._select(channel, control, value)
        elif control in (6, 38):
            return self._enter(number, control, value, time_s)
        elif control == 120:
            return self._all_sound_off(number, time_s)
        elif control == 121:
            return self._reset_controllers(number, time_s)
        elif control >= 123:  # all notes off; the mode messages imply it
            off = [self._note_off(number, pitch, time_s) for pitch in list(channel.held)]
            return any(off)
        return changed and self._is_heard(number, time_s)

    @staticmethod
    def _select(channel: _Channel, control: int, value: int) -> None:
        """Controllers 100 and 101 choose a registered parameter, 98 and 99 (one that is not registered) end that."""
        channel.data = (0, 0)
        if control in (98, 99):
            channel.parameter = None
            return
        channel.selected = (value, channel.selected[1]) if control == 101 else (channel.selected[0], value)
        channel.parameter = channel.selected

    def _enter(self, number: int, control: int, value: int, time_s: float) -> bool:
        """Data entry, for the registered parameters that there are."""
        channel = self._channel(number)
        channel.data = (value, channel.data[1]) if control == 6 else (channel.data[0], value)
        coarse, fine = channel.data
        if channel.parameter == BEND_RANGE:
            channel.bend_range_semitones = coarse + min(fine, 99) / 100
        elif channel.parameter == FINE_TUNING:
            channel.tuning_semitones = ((coarse << 7 | fine) - CENTRE) / CENTRE
        elif channel.parameter == COARSE_TUNING:
            channel.transposition_semitones = coarse - 64
        return self._update_pitch(number, time_s)

    def _update_pitch(self, number: int, time_s: float) -> bool:
        changed = self._controllers[number].pitch_semitones.add(time_s, self._channel(number).pitch_semitones)
        return changed and self._is_heard(number, time_s)

    def _reset_controllers(self, number: int, time_s: float) -> bool:
        """CC 121 as RP-015 has it: volume, pan, program, bend range and tuning stay."""
        channel = self._channel(number)
        channel.bend, channel.parameter, channel.selected = CENTRE, None, (127, 127)
        changed = [self._control(number, control, value, time_s) for control, value in ((64, 0), (1, 0), (11, EXPRESSION))]
        return any([*changed, self._update_pitch(number, time_s)])

    def _reset(self, port: int, time_s: float) -> bool:
        """Everything on a port's channels as after power-up, and silent."""
        changed = False
        for number in [n for n in self._channels if n // CHANNELS == port]:
            changed |= self._all_sound_off(number, time_s)
            fresh = _Channel()
            self._channels[number], curves = fresh, self._controllers[number]
            curves.gain_db.add(time_s, gain_db(fresh.volume, fresh.expression))
            curves.pitch_semitones.add(time_s, fresh.pitch_semitones)
            curves.modulation.add(time_s, 0.0)
            curves.pedal.add(time_s, 0.0)
            curves.reverb.add(time_s, REVERB / 127)
        return changed
