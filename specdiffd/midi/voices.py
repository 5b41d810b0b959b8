"""The notes of a score: which are remembered, which may still be heard, and which give up their voice when there are too many."""

from __future__ import annotations

import math
from collections import deque

from specdiffd.base.events import Note

SHORTEST_S = 0.01  # of a note: drum machines send on and off at one moment, and no instrument was trained with shorter notes
RING_S = 3.0  # after its end a note counts as heard
MOST_VOICES = 256  # heard at a time, as in FluidSynth; each one makes a revision slower (256 take 17 ms of note prior for ten frames)
STOLEN_S = 0.06  # until a note whose voice is stolen is silent: three frames, so that nothing clicks
KEPT_NOTES = 1024  # that have ended, of a score that forgets: more than a window has tokens for


class Voices:
    """Notes from their onset until they are forgotten.

    Args:
        kept_notes: how many notes that are no longer heard are remembered, the newest; None: all, until ``forget``.

    Attributes:
        notes: all that are remembered, in order of onset.
        stolen: how many notes were cut off because too many were heard.
    """

    def __init__(self, kept_notes: int | None) -> None:
        self._kept_notes = kept_notes
        self.notes: list[Note] = []
        self._heard: dict[Note, None] = {}  # of the notes those that may still be heard, in order of onset
        self._ended: deque[Note] = deque()  # of those the ones that have ended, in order of their ends
        self.stolen = 0

    def sounding(self, time_s: float) -> list[Note]:
        """Notes that are held (by key or pedal) at ``time_s``."""
        return [n for n in self._heard if n.onset_s <= time_s < n.end_s]

    def of_channel(self, channel: int) -> list[Note]:
        """The notes of a channel that may still be heard, in order of onset."""
        return [n for n in self._heard if n.channel == channel]

    def are_heard(self, channel: int, time_s: float) -> bool:
        """Whether any note of a channel is held at ``time_s`` or rings."""
        return any(n.channel == channel and rings(n, time_s) for n in self._heard)

    def begin(self, note: Note, time_s: float) -> list[Note]:
        """Add a note; returns those whose voices it takes."""
        self.notes.append(note)
        self._heard[note] = None
        stolen = self._steal(time_s)
        self._forget_oldest()
        return stolen

    def end(self, note: Note, time_s: float) -> None:
        """A note is let go, unless it was before."""
        if math.isinf(note.offset_s):
            note.offset_s = max(time_s, note.onset_s + SHORTEST_S)
            self._ended.append(note)

    def cut(self, note: Note, time_s: float) -> None:
        """A note ends at once, without its release."""
        if math.isinf(note.end_s):
            self._ended.append(note)
        note.choke_s = min(note.choke_s, time_s)
        note.offset_s = min(note.offset_s, time_s)

    def drop(self, note: Note) -> None:
        """As if a note had never been played."""
        self.notes = [n for n in self.notes if n is not note]
        self._heard.pop(note, None)

    def drop_ended(self, since_s: float) -> None:
        """Drop the notes that began at or after ``since_s`` and have ended."""
        for note in [n for n in self._heard if n.onset_s >= since_s and math.isfinite(n.end_s)]:
            self.drop(note)

    def clear(self) -> None:
        """Forget all notes."""
        self.notes, self._heard, self._ended = [], {}, deque()

    def forget(self, before_s: float) -> None:
        """Forget notes that ended before ``before_s``."""
        self.notes = [n for n in self.notes if n.end_s >= before_s]

    def move(self, later_s: float) -> None:
        """All notes happened so much later."""
        for note in self.notes:
            note.onset_s += later_s
            note.offset_s += later_s
            note.choke_s += later_s
            note.silent_s += later_s

    def _steal(self, time_s: float) -> list[Note]:
        """Cut notes off until ``MOST_VOICES`` are heard: first those that have ended, the earliest end first, then the oldest."""
        while self._ended and self._ended[0].end_s + RING_S < time_s:
            self._heard.pop(self._ended.popleft(), None)
        stolen = []
        while len(self._heard) > MOST_VOICES:
            note = self._ended.popleft() if self._ended else next(iter(self._heard))
            if note in self._heard:
                del self._heard[note]
                self.cut(note, time_s)
                note.silent_s = time_s + STOLEN_S
                stolen.append(note)
        self.stolen += len(stolen)
        return stolen

    def _forget_oldest(self) -> None:
        """Forget the oldest notes that are no longer heard, once there are twice as many as are kept."""
        if self._kept_notes is not None and len(self.notes) > 2 * self._kept_notes + MOST_VOICES:
            dropped = set([n for n in self.notes if n not in self._heard][: -self._kept_notes])
            self.notes = [n for n in self.notes if n not in dropped]


def rings(note: Note, time_s: float) -> bool:
    """Whether a note is held at ``time_s``, or ended no more than ``RING_S`` before."""
    return note.end_s + RING_S >= time_s
