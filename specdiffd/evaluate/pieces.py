"""Test pieces: stretches of songs in fixed instrumentations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from specdiffd.events import NOTE_ON, PROGRAM, Event
from specdiffd.train.pieces import drum_pattern, note, order, read_tracks

# Programs of a song's tracks (melody, second voice, accompaniment), and whether drums are added.
FAMILIES: dict[str, tuple[tuple[int, ...], bool]] = {
    "piano": ((0, 0, 0), False),
    "strings": ((48, 48, 42), False),
    "guitar": ((25, 24, 24), False),
    "winds": ((73, 71, 70), False),
    "band": ((65, 26, 33), True),
}
BAND_BASS_TRACK = 2  # played an octave lower


def family_piece(song: Path, family: str, duration_s: float, start_s: float = 20.0, seed: int = 0) -> list[Event]:
    """``duration_s`` of a song from ``start_s`` on, orchestrated as ``family``; the last second is left to ring out."""
    programs, drums = FAMILIES[family]
    events: list[Event] = []
    for channel, notes in enumerate(read_tracks(song)[: len(programs)]):
        events.append(Event(0.0, PROGRAM | channel, programs[channel]))
        for onset_s, offset_s, pitch, velocity in notes:
            lower = 12 if drums and channel == BAND_BASS_TRACK else 0
            if start_s <= onset_s < start_s + duration_s - 1:
                events += note(channel, onset_s - start_s, offset_s - onset_s, pitch - lower, velocity)
    if drums:
        events += drum_pattern(np.random.default_rng(seed), duration_s - 1)
    return sorted(events, key=order)


def test_set(songs: Sequence[Path], duration_s: float) -> list[tuple[str, str, list[Event]]]:
    """(family, song name, events) for every family and song that has notes there."""
    pieces = [(family, song.stem, family_piece(song, family, duration_s, seed=k)) for family in FAMILIES for k, song in enumerate(songs)]
    return [p for p in pieces if any(e.kind == NOTE_ON for e in p[2])]
