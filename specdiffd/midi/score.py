"""MIDI events to a score: held notes, sustain pedal, programs, controllers.

One score type serves live input (events as they come) and files (their events in order).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping

from specdiffd.base.events import Controllers, Curve, Event, Note, Performance
from specdiffd.base.messages import (
    ALL_NOTES_OFF,
    ALL_SOUND_OFF,
    BEND,
    CHANNELS,
    CONTROL,
    CONTROLLERS,
    CURVES,
    DATA,
    DATA_FINE,
    DRUM_CHANNEL,
    NOTE_OFF,
    NOTE_ON,
    NRPN,
    NRPN_FINE,
    PROGRAM,
    RESET_CONTROLLERS,
    RPN,
    RPN_FINE,
    SUSTAIN,
    SYSTEM_RESET,
)
from specdiffd.midi.channel import Channel

# General MIDI level 1 percussion: a note of a group cuts the others of its group off.
EXCLUSIVE_DRUMS = ({42, 44, 46}, {71, 72}, {73, 74}, {78, 79}, {80, 81})
CUT_BY = {pitch: group for group in EXCLUSIVE_DRUMS for pitch in group}
SHORTEST_S = 0.01  # of a note: drum machines write on and off at one moment; shorter ones than this no instrument was trained with
RING_S = 3.0  # after its end a note counts as heard
VOICES = 256  # heard at a time, as in FluidSynth: what a revision costs grows with them (17 ms of note prior for ten frames)
STOLEN_S = 0.06  # until a note whose voice is stolen is silent: three frames, so that nothing clicks
KEPT_NOTES = 1024  # that have ended, of a score that forgets: more than a window has tokens for


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
        self._channels: dict[int, Channel] = {}
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
    def channels(self) -> Mapping[int, Channel]:
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
            self._control(number, control, 0, time_s)
            for number, c in self._channels.items()
            if c.held or c.pedal
            for control in (SUSTAIN, ALL_NOTES_OFF)
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

    def _channel(self, number: int) -> Channel:
        """What is remembered of a channel; its first message makes it."""
        if number not in self._channels:
            self._channels[number], self._controllers[number] = Channel(), Controllers()
        return self._channels[number]

    def _is_heard(self, number: int, time_s: float) -> bool:
        return any(n.channel == number and n.end_s + RING_S >= time_s for n in self._heard)

    def _control(self, number: int, control: int, value: int, time_s: float) -> bool:
        channel = self._channel(number)
        if control in CONTROLLERS:
            return self._turn(number, control, value, time_s)
        if control in (NRPN_FINE, NRPN, RPN_FINE, RPN):
            channel.select(control, value)
        elif control in (DATA, DATA_FINE):
            channel.enter(control, value)
            return self._update_pitch(number, time_s)
        elif control == ALL_SOUND_OFF:
            return self._all_sound_off(number, time_s)
        elif control == RESET_CONTROLLERS:
            return self._reset_controllers(number, time_s)
        elif control >= ALL_NOTES_OFF:
            off = [self._note_off(number, pitch, time_s) for pitch in list(channel.held)]
            return any(off)
        return False

    def _turn(self, number: int, control: int, value: int, time_s: float) -> bool:
        """A controller of the table."""
        channel = self._channel(number)
        channel.values[control] = value
        changed = self._update_curve(number, CONTROLLERS[control].curve, time_s)
        if control == SUSTAIN and not channel.pedal:
            changed |= self._release_sustained(number, time_s)
        return changed and self._is_heard(number, time_s)

    def _update_curve(self, number: int, curve: str, time_s: float) -> bool:
        found: Curve = getattr(self._controllers[number], curve)
        return found.add(time_s, CURVES[curve](self._channel(number).values))

    def _update_pitch(self, number: int, time_s: float) -> bool:
        changed = self._controllers[number].pitch_semitones.add(time_s, self._channel(number).pitch_semitones)
        return changed and self._is_heard(number, time_s)

    def _reset_controllers(self, number: int, time_s: float) -> bool:
        self._channel(number).reset_controllers()
        changed = [self._update_curve(number, curve, time_s) for curve in CURVES]
        changed.append(self._release_sustained(number, time_s))
        return any([any(changed) and self._is_heard(number, time_s), self._update_pitch(number, time_s)])

    def _reset(self, port: int, time_s: float) -> bool:
        """Everything on a port's channels as after power-up, and silent."""
        changed = False
        for number in [n for n in self._channels if n // CHANNELS == port]:
            changed |= self._all_sound_off(number, time_s)
            self._channels[number] = Channel()
            for curve in CURVES:
                self._update_curve(number, curve, time_s)
            self._update_pitch(number, time_s)
        return changed
