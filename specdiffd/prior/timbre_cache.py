"""A cache of the timbres of recent notes: while a note sounds, only its ages change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.prior.arrays import envelope_arrays, note_arrays
from specdiffd.prior.config import COLOURED, DETAIL_AGES_S, DRUM_PROGRAM, KEYS
from specdiffd.prior.dense_kernels import f32
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import NoteFeatures
from specdiffd.prior.timbre_kernels import NoteToMake, TimbreTable, make_timbre


class Stroke(NamedTuple):
    """A note without its pitch bend; it has one timbre for each pitch."""

    key: int
    velocity: float
    program: int
    drum: bool


class NoteId(NamedTuple):
    """What a timbre depends on."""

    stroke: Stroke
    pitch: float


class TimbreCache:
    """A table of timbres, least recently used first to go. `make_timbre` makes a row when its note is first heard.

    Args:
        prior: its weights are copied.
        kept: rows of the table.
    """

    def __init__(self, prior: NotePrior, kept: int) -> None:
        self.envelope = envelope_arrays(prior)
        self.table = _empty_table(prior, kept)
        self._notes = note_arrays(prior)
        self._row: dict[NoteId, int] = {}  # of each note in the table, in the order of use
        self._last: dict[Stroke, NoteId] = {}  # the note whose timbre was made last, whatever its pitch

    def __len__(self) -> int:
        """Timbres in the table."""
        return len(self._row)

    def rows(self, x: NoteFeatures, most_bent: int) -> NDArray[np.int64]:
        """Rows (N,) of the table with the timbres of the notes. Missing ones are made.

        Args:
            x: the notes.
            most_bent: how many timbres may be made for notes that have one at another pitch; the rest keep their last one.
        """
        columns = zip(*(column.tolist() for column in (x.key, x.velocity, x.program, x.drum, x.pitch)), strict=True)
        notes = [NoteId(Stroke(key, velocity, program, drum), pitch) for key, velocity, program, drum, pitch in columns]
        used = {self._made(note): None for note in notes}
        for note in used:
            if note in self._row:
                self._row[note] = self._row.pop(note)  # now the last in the order of use
        for note in self._missing(notes, most_bent):
            self.make(note, self._free_row(used))
            used[note] = None
        return np.array([self._row[self._made(note)] for note in notes], np.int64)

    def _made(self, note: NoteId) -> NoteId:
        """The note whose timbre is used: ``note`` if it has one, else the last of its stroke, else ``note``, whose timbre must then be made."""
        return note if note in self._row else self._last.get(note.stroke, note)

    def _free_row(self, used: Mapping[NoteId, None]) -> int:
        """A row whose timbre is not in ``used``; the table grows if there is none."""
        rows = len(self.table.envelope)
        if len(self._row) < rows:
            return len(self._row)
        oldest = next(iter(self._row))
        if oldest in used:
            self.table = _longer(self.table, rows // 4 + 1)
            return rows
        if self._last.get(oldest.stroke) == oldest:
            del self._last[oldest.stroke]
        return self._row.pop(oldest)

    def _missing(self, notes: list[NoteId], most_bent: int) -> list[NoteId]:
        """Notes to make timbres for: those of new strokes, and some of those that have a timbre at another pitch."""
        new = [note for note in dict.fromkeys(notes) if note not in self._row]
        first = {note.stroke: note for note in reversed(new) if note.stroke not in self._last}
        return [*first.values(), *[note for note in new if first.get(note.stroke) is not note][:most_bent]]

    def make(self, note: NoteId, row: int) -> None:
        """Make a timbre, in a row of the table."""
        (key, velocity, program, drum), pitch = note
        program = DRUM_PROGRAM if drum else program
        table_key = min(max(key, COLOURED[0]), COLOURED[-1])
        gains_row = program * len(COLOURED) + table_key - COLOURED[0]
        to_make = NoteToMake(program, program * KEYS + key, gains_row, f32(pitch - table_key), f32(pitch), f32(velocity))
        make_timbre(self._notes, self.envelope, to_make, self.table, row)
        self._row[note], self._last[note.stroke] = row, note


def _longer(table: TimbreTable, rows: int) -> TimbreTable:
    """A copy of a table with ``rows`` more rows, of zeros."""
    columns: list[NDArray[Any]] = [np.concatenate((x, np.zeros_like(x[:rows]))) for x in table]
    return TimbreTable(*columns)


def _empty_table(prior: NotePrior, rows: int) -> TimbreTable:
    c = prior.config

    def zeros(*size: int) -> NDArray[np.float32]:
        return np.zeros((rows, *size), np.float32)

    return TimbreTable(
        envelope=zeros(c.frame_width),
        shapes=zeros(c.shapes, c.mel_bins),
        rough_shapes=zeros(c.shapes, c.mel_bins),
        partials=zeros(c.shapes, c.harmonics),
        position=zeros(c.harmonics),
        glide=zeros(c.harmonics),
        colours=zeros(len(DETAIL_AGES_S), c.mel_bins),
        sustain_start_s=zeros(),
        sustain_rate=zeros(),
        slow_attack=np.zeros(rows, np.bool_),
    )
