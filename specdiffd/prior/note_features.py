"""A performance as the note prior sees it: one row a sounding note, one column a frame.

The features are fixed: pitch in float semitones (bend included), key, velocity, program, drum, gain (volume and
expression, a log offset), pedal, modulation, seconds since onset, since release and since choke. Later training must
not change them.
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
BEND_STEP_SEMITONES = 1 / 16  # finer bends are rounded: well below what 128 mels resolve
NEPERS_PER_DB = math.log(10) / 20


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
    def over_time(self) -> tuple[Tensor, ...]:
        """(N, F) each: ages since onset, release and choke, pedal, modulation, gain."""
        return self.age_s, self.release_s, self.choke_s, self.pedal, self.modulation, self.gain

    def to(self, device: torch.device | str) -> NoteFeatures:
        """The same on another device."""
        return NoteFeatures(*(x.to(device) for x in self))


def note_features(performance: Performance, starts_s: Times, window_s: float, ring_s: float) -> NoteFeatures:
    """Features of every note that can be heard in the frames starting at ``starts_s`` (F,), ascending.

    Args:
        performance: notes in order of onset.
        starts_s: times of the frames' first samples.
        window_s: what one frame covers.
        ring_s: how long after its end a note may still be heard.
    """
    first_s, last_s = float(starts_s[0]), float(starts_s[-1]) + window_s
    notes = [n for n in performance.notes if n.onset_s < last_s and n.heard_until_s(ring_s) > first_s]
    centres = starts_s + window_s / 2
    bends = {
        c: _rounded(curves.pitch_semitones.at(centres)) for c, curves in performance.controllers.items() if curves.pitch_semitones.times_s
    }
    rows: list[tuple[Note, float, NDArray[np.bool_] | None]] = []
    for note in notes:
        bend = None if note.is_drum else bends.get(note.channel)
        if bend is None:
            fixed = (
                0.0
                if note.is_drum
                else round(performance.controllers[note.channel].pitch_semitones.last / BEND_STEP_SEMITONES) * BEND_STEP_SEMITONES
            )
            rows.append((note, fixed, None))
        else:
            rows += [(note, float(value), bend == value) for value in np.unique(bend)]
    return _table(rows, performance, starts_s, centres, window_s, ring_s)


def _rounded(bend: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.round(bend / BEND_STEP_SEMITONES) * np.float32(BEND_STEP_SEMITONES)


def _table(
    rows: list[tuple[Note, float, NDArray[np.bool_] | None]],
    performance: Performance,
    starts_s: Times,
    centres: Times,
    window_s: float,
    ring_s: float,
) -> NoteFeatures:
    notes = [note for note, _, _ in rows]
    count, frames = len(notes), len(starts_s)
    times = np.array([(n.onset_s, n.offset_s, n.choke_s, n.silent_s) for n in notes], np.float64).reshape(count, 4)
    channels = np.array([n.channel for n in notes], np.int64)
    # The networks read a rounded age. One that is above -window_s only before it is rounded is to them an event that has not happened, and
    # what they say of such a note is chance: bursts up to 28 dB over the reference, wherever an onset lies at the end of a frame's window.
    age = (starts_s - times[:, :1]).astype(np.float32)
    release = np.maximum(starts_s - times[:, 1:2], -NEVER_S)
    choke = np.maximum(starts_s - times[:, 2:3], -NEVER_S)
    active = (age > np.float32(-window_s)) & (np.maximum(release, choke) < ring_s) & (starts_s < times[:, 3:4])
    for row, (_, _, where) in enumerate(rows):
        if where is not None:
            active[row] &= where

    def curves(name: str) -> Tensor:
        used = {c: getattr(performance.controllers[c], name).at(centres) for c in set(channels.tolist())}
        table = np.stack([used[c] for c in channels.tolist()]) if count else np.zeros((0, frames), np.float32)
        return torch.from_numpy(table)

    key = torch.tensor([n.pitch for n in notes], dtype=torch.int64)
    return NoteFeatures(
        key=key,
        pitch=key + torch.tensor([bend for _, bend, _ in rows], dtype=torch.float32),
        velocity=torch.tensor([n.velocity / 127 for n in notes], dtype=torch.float32),
        program=torch.tensor([n.program for n in notes], dtype=torch.int64),
        drum=torch.tensor([n.is_drum for n in notes], dtype=torch.bool),
        age_s=torch.from_numpy(age),
        release_s=torch.from_numpy(release.astype(np.float32)),
        choke_s=torch.from_numpy(choke.astype(np.float32)),
        gain=(curves("gain_db") - NO_GAIN_DB) * NEPERS_PER_DB,
        pedal=curves("pedal"),
        modulation=curves("modulation"),
        active=torch.from_numpy(active),
    )


NO_GAIN_DB = Controllers().gain_db.initial  # volume 100, expression 127: what the instrument is trained around
