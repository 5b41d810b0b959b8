"""Random pieces to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from specdiffd.base.events import Event
from specdiffd.base.messages import DRUM_CHANNEL, PROGRAM
from specdiffd.reference.generated import generated_piece
from specdiffd.reference.parts import KIT, Rng, note, order
from specdiffd.reference.songs import song_piece


def random_piece(rng: Rng, songs: Sequence[Path], duration_s: float) -> list[Event]:
    """A re-orchestrated song half of the time (if there are songs), else generated music."""
    if songs and rng.random() < 0.5:
        return song_piece(rng, songs[int(rng.integers(len(songs)))], duration_s)
    return generated_piece(rng, duration_s)


def solo_piece(rng: Rng, songs: Sequence[Path], duration_s: float) -> list[Event]:
    """Single notes of one random program, or strokes of the drum kit, one after the other over the whole keyboard with short pauses."""
    drums = rng.random() < 0.08
    channel, keys = (DRUM_CHANNEL, KIT) if drums else (0, range(21, 109))
    events = [Event(0.0, PROGRAM | channel, 0 if drums else int(rng.integers(128)))]
    t = float(rng.uniform(0, 0.5))
    while t < duration_s:
        length = float(np.exp(rng.uniform(np.log(0.05), np.log(2.5))))
        events += note(channel, t, length, int(rng.integers(keys.start, keys.stop)), float(rng.uniform(10, 127)))
        t += length + float(rng.uniform(0.05, 0.8))
    return sorted(events, key=order)
