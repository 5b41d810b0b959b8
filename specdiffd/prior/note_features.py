"""A performance as input of the note prior: a row for each sounding note, a column for each frame.

The features are fixed: pitch in float semitones (bend included), key, velocity, program, drum, gain (volume and expression, a log offset),
pedal, modulation, seconds since onset, since release and since choke. Checkpoints are trained for exactly these.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specdiffd.base.events import Controllers, Note, Performance

Times = NDArray[np.floating[Any]]
NEVER_S = 1e3  # stands for "not yet released", "not choked"
BEND_STEP_SEMITONES = 1 / 16  # bends are rounded to it, well below what 128 mels resolve; a finer step makes more timbres of a moving wheel
NEPERS_PER_DB = math.log(10) / 20
NO_GAIN_DB = Controllers().gain_db.initial  # volume 100, expression 127: the training's zero of ``gain``


class OverTime(NamedTuple):
    """Features of notes that change with time, all of one shape. Ages are negative before the event, -NEVER_S where there is none."""

    age_s: Tensor  # from the onset to the frame's first sample
    release_s: Tensor  # since the release
    choke_s: Tensor  # since the choke
    pedal: Tensor  # 0 or 1
    modulation: Tensor  # 0 to 1
    gain: Tensor  # nepers


class NoteFeatures(NamedTuple):
    """N rows (a bent note takes a row for each pitch it passes), F frames. Ages are negative before the event."""

    key: Tensor  # (N,) int64, 0..127
    pitch: Tensor  # (N,) semitones
    velocity: Tensor  # (N,) 0..1
    program: Tensor  # (N,) int64, 0..127
    drum: Tensor  # (N,) bool
    age_s: Tensor  # (N, F) from the onset to the frame's first sample
    release_s: Tensor  # (N, F) since the offset; -NEVER_S while held
    choke_s: Tensor  # (N, F)
    gain: Tensor  # (N, F) nepers
    pedal: Tensor  # (N, F) 0 or 1
    modulation: Tensor  # (N, F) 0..1
    active: Tensor  # (N, F) bool: the row is the note's pitch in this frame, and the note may be heard

    @property
    def over_time(self) -> OverTime:
        """The features that change with time: (N, F) each."""
        return OverTime(self.age_s, self.release_s, self.choke_s, self.pedal, self.modulation, self.gain)

    def to(self, device: torch.device | str) -> NoteFeatures:
        """The same on another device."""
        return NoteFeatures(*(x.to(device) for x in self))


class _Row(NamedTuple):
    """A note at one of its pitches."""

    note: Note
    bend_semitones: float
    frames: NDArray[np.bool_] | None  # (F,) in which this is its pitch; None: all


class _Ages(NamedTuple):
    """(N, F) each, as in `NoteFeatures`."""

    age_s: NDArray[np.float32]
    release_s: NDArray[np.float32]
    choke_s: NDArray[np.float32]
    active: NDArray[np.bool_]


def note_features(performance: Performance, starts_s: Times, window_s: float, ring_s: float) -> NoteFeatures:
    """Features of every note that can be heard in the frames starting at ``starts_s`` (F,), ascending.

    Args:
        performance: notes in order of onset.
        starts_s: times of the frames' first samples.
        window_s: length of a frame's window.
        ring_s: how long after its end a note may still be heard.
    """
    centres_s = starts_s + window_s / 2
    rows = _rows(performance, starts_s, centres_s, window_s, ring_s)
    notes = [row.note for row in rows]
    age_s, release_s, choke_s, active = _ages(rows, starts_s, window_s, ring_s)
    key = torch.tensor([n.pitch for n in notes], dtype=torch.int64)
    return NoteFeatures(
        key=key,
        pitch=key + torch.tensor([row.bend_semitones for row in rows], dtype=torch.float32),
        velocity=torch.tensor([n.velocity / 127 for n in notes], dtype=torch.float32),
        program=torch.tensor([n.program for n in notes], dtype=torch.int64),
        drum=torch.tensor([n.is_drum for n in notes], dtype=torch.bool),
        age_s=torch.from_numpy(age_s),
        release_s=torch.from_numpy(release_s),
        choke_s=torch.from_numpy(choke_s),
        gain=(_controller("gain_db", notes, performance, centres_s) - NO_GAIN_DB) * NEPERS_PER_DB,
        pedal=_controller("pedal", notes, performance, centres_s),
        modulation=_controller("modulation", notes, performance, centres_s),
        active=torch.from_numpy(active),
    )


def _rows(performance: Performance, starts_s: Times, centres_s: Times, window_s: float, ring_s: float) -> list[_Row]:
    """The notes that may be heard in the frames, once for each pitch they have there."""
    first_s, last_s = float(starts_s[0]), float(starts_s[-1]) + window_s
    notes = [n for n in performance.notes if n.onset_s < last_s and n.heard_until_s(ring_s) > first_s]
    bends = {
        c: _rounded(curves.pitch_semitones.at(centres_s)) for c, curves in performance.controllers.items() if curves.pitch_semitones.times_s
    }
    rows: list[_Row] = []
    for note in notes:
        bend = None if note.is_drum else bends.get(note.channel)
        if bend is None:
            rows.append(_Row(note, _fixed_bend(note, performance), None))
        else:
            rows += [_Row(note, float(value), bend == value) for value in np.unique(bend)]
    return rows


def _fixed_bend(note: Note, performance: Performance) -> float:
    """Semitones by which a note is bent where the bend does not change."""
    if note.is_drum:
        return 0.0
    return round(performance.controllers[note.channel].pitch_semitones.last / BEND_STEP_SEMITONES) * BEND_STEP_SEMITONES


def _rounded(bend: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.round(bend / BEND_STEP_SEMITONES) * np.float32(BEND_STEP_SEMITONES)


def _ages(rows: list[_Row], starts_s: Times, window_s: float, ring_s: float) -> _Ages:
    """How long ago each row's note began and ended, and where it may be heard."""
    events_s = [(n.onset_s, n.offset_s, n.choke_s, n.silent_s) for n, _, _ in rows]
    onset_s, offset_s, choked_s, silent_s = np.array(events_s, np.float64).reshape(len(rows), 4, 1).swapaxes(0, 1)
    # ``active`` must use the rounded age, as the networks do. Where only the unrounded age was above -window_s, the networks took the onset
    # for one that had not happened, and their output was arbitrary: bursts of up to 28 dB where an onset lay at the end of a window.
    age_s = (starts_s - onset_s).astype(np.float32)
    release_s = np.maximum(starts_s - offset_s, -NEVER_S)
    choke_s = np.maximum(starts_s - choked_s, -NEVER_S)
    active = (age_s > np.float32(-window_s)) & (np.maximum(release_s, choke_s) < ring_s) & (starts_s < silent_s)
    for row, (_, _, frames) in enumerate(rows):
        if frames is not None:
            active[row] &= frames
    return _Ages(age_s, release_s.astype(np.float32), choke_s.astype(np.float32), active)


def _controller(name: str, notes: list[Note], performance: Performance, centres_s: Times) -> Tensor:
    """A controller (N, F) of each note's channel, at the frames' centres."""
    used = {c: getattr(performance.controllers[c], name).at(centres_s) for c in {n.channel for n in notes}}
    if not notes:
        return torch.from_numpy(np.zeros((0, len(centres_s)), np.float32))
    return torch.from_numpy(np.stack([used[n.channel] for n in notes]))
