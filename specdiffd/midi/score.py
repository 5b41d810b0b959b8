"""MIDI events to a score: held notes, sustain pedal, programs, controllers.

One score type serves live input (events as they come) and files (their events in order).
"""

from __future__ import annotations

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
    CUT_BY,
    DATA_ENTRY,
    DRUM_CHANNEL,
    NOTE_OFF,
    NOTE_ON,
    PARAMETER_SELECTION,
    PROGRAM,
    RESET_CONTROLLERS,
    SUSTAIN,
    SYSTEM_RESET,
)
from specdiffd.midi.channel import Channel
from specdiffd.midi.voices import Voices, rings


class Score:
    """What has been played so far.

    ``apply`` takes events in order of time; ``performance`` is what a window is made from. ``forget`` drops notes that ended
    before any window that will be rendered.

    Args:
        kept_notes: how many notes that are no longer heard are remembered, the newest; None: all, until ``forget``.
    """

    def __init__(self, kept_notes: int | None = None) -> None:
        self._voices = Voices(kept_notes)
        self._controllers: dict[int, Controllers] = {}
        self._channels: dict[int, Channel] = {}

    @property
    def performance(self) -> Performance:
        """The notes and controllers remembered, shared with the score (read only)."""
        return Performance(self._voices.notes, self._controllers)

    @property
    def stolen_notes(self) -> int:
        """How many notes were cut off because too many were heard."""
        return self._voices.stolen

    def sounding(self, time_s: float) -> list[Note]:
        """Notes held (by key or pedal) at ``time_s``."""
        return self._voices.sounding(time_s)

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
        """Let go of every key and pedal; returns whether that changes what is heard."""
        changed = [
            self._control(number, control, 0, time_s)
            for number, c in self._channels.items()
            if c.held or c.pedal
            for control in (SUSTAIN, ALL_NOTES_OFF)
        ]
        return any(changed)

    def panic(self, time_s: float) -> None:
        """Forget all notes and reset the controllers of every channel; programs and volumes stay."""
        for number in self._channels:
            self._all_sound_off(number, time_s)
            self._reset_controllers(number, time_s)
        self._voices.clear()

    def forget(self, notes_before_s: float, controllers_before_s: float) -> None:
        """Drop notes that ended before ``notes_before_s``, and changes of controllers that no frame after ``controllers_before_s`` can see."""
        self._voices.forget(notes_before_s)
        for controllers in self._controllers.values():
            for curve in controllers.curves:
                curve.forget(controllers_before_s)

    def move(self, later_s: float) -> None:
        """Let everything have happened so much later: the stream's time has jumped."""
        self._voices.move(later_s)
        for controllers in self._controllers.values():
            for curve in controllers.curves:
                curve.move(later_s)

    def discard(self, since_s: float) -> None:
        """Drop notes that began at or after ``since_s`` and have ended: nobody could hear them."""
        self._voices.drop_ended(since_s)

    # -- notes ---------------------------------------------------------------------------------------------------

    def _note_on(self, number: int, pitch: int, velocity: int, time_s: float) -> bool:
        channel = self._channel(number)
        is_drum = number % CHANNELS == DRUM_CHANNEL
        for earlier in (channel.held.pop(pitch, None), channel.sustained.pop(pitch, None)):
            if earlier is not None:
                self._strike_again(earlier, time_s)
        if is_drum:
            for excluded in CUT_BY.get(pitch, ()):
                self._choke(number, excluded, time_s)
        note = channel.held[pitch] = Note(time_s, pitch, velocity, channel.program, number, is_drum)
        for stolen in self._voices.begin(note, time_s):
            self._channels[stolen.channel].release(stolen)
        return True

    def _strike_again(self, earlier: Note, time_s: float) -> None:
        """End a note because its key is struck again. If it began at the same moment, it was the same stroke, and is dropped."""
        self._voices.end(earlier, time_s)
        if earlier.onset_s == time_s:
            self._voices.drop(earlier)

    def _note_off(self, number: int, pitch: int, time_s: float) -> bool:
        channel = self._channel(number)
        note = channel.held.pop(pitch, None)
        if note is None:
            return False
        if channel.pedal:
            channel.sustained[pitch] = note
            return False
        self._voices.end(note, time_s)
        return True

    def _cut(self, note: Note, time_s: float) -> None:
        self._voices.cut(note, time_s)
        self._channels[note.channel].release(note)

    def _choke(self, number: int, pitch: int, time_s: float) -> None:
        for note in self._voices.of_channel(number):
            if note.pitch == pitch and note.choke_s > time_s:
                self._cut(note, time_s)

    def _all_sound_off(self, number: int, time_s: float) -> bool:
        cut = [n for n in self._voices.of_channel(number) if n.choke_s > time_s and rings(n, time_s)]
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
            self._voices.end(note, time_s)
        channel.sustained.clear()
        return bool(released)

    # -- controllers ---------------------------------------------------------------------------------------------

    def _channel(self, number: int) -> Channel:
        """A channel, made by its first message."""
        if number not in self._channels:
            self._channels[number], self._controllers[number] = Channel(), Controllers()
        return self._channels[number]

    def _control(self, number: int, control: int, value: int, time_s: float) -> bool:
        channel = self._channel(number)
        if control in CONTROLLERS:
            return self._set(number, control, value, time_s)
        if control in PARAMETER_SELECTION:
            channel.select(control, value)
        elif control in DATA_ENTRY:
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

    def _set(self, number: int, control: int, value: int, time_s: float) -> bool:
        """Set a controller of the table."""
        channel = self._channel(number)
        channel.values[control] = value
        changed = self._update_curve(number, CONTROLLERS[control].curve, time_s)
        if control == SUSTAIN and not channel.pedal:
            changed |= self._release_sustained(number, time_s)
        return changed and self._voices.are_heard(number, time_s)

    def _update_curve(self, number: int, curve: str, time_s: float) -> bool:
        found: Curve = getattr(self._controllers[number], curve)
        return found.add(time_s, CURVES[curve](self._channel(number).values))

    def _update_pitch(self, number: int, time_s: float) -> bool:
        changed = self._controllers[number].pitch_semitones.add(time_s, self._channel(number).pitch_semitones)
        return changed and self._voices.are_heard(number, time_s)

    def _reset_controllers(self, number: int, time_s: float) -> bool:
        self._channel(number).reset_controllers()
        changed = [self._update_curve(number, curve, time_s) for curve in CURVES]
        changed.append(self._release_sustained(number, time_s))
        return any([any(changed) and self._voices.are_heard(number, time_s), self._update_pitch(number, time_s)])

    def _reset(self, port: int, time_s: float) -> bool:
        """Set all channels of a port to their state after power-up, and silence them."""
        changed = False
        for number in [n for n in self._channels if n // CHANNELS == port]:
            changed |= self._all_sound_off(number, time_s)
            self._channels[number] = Channel()
            for curve in CURVES:
                self._update_curve(number, curve, time_s)
            self._update_pitch(number, time_s)
        return changed
