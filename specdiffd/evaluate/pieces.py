"""Test pieces: stretches of songs played by the programs of one family, and single sounds of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from specdiffd.base.events import Event
from specdiffd.base.messages import DRUM_CHANNEL, NOTE_OFF, NOTE_ON, PROGRAM
from specdiffd.reference.drums import drum_pattern
from specdiffd.reference.parts import note, order
from specdiffd.reference.songs import tracks_of

# The families of General MIDI, eight programs each, in order.
FAMILIES = (
    "piano",
    "mallets",
    "organ",
    "guitar",
    "bass",
    "strings",
    "ensemble",
    "brass",
    "reed",
    "pipe",
    "synth lead",
    "synth pad",
    "synth effects",
    "ethnic",
    "percussive",
    "sound effects",
)
BAND = "band"
BAND_PROGRAMS = (65, 26, 33)  # melody, second voice, bass
TRACKS = 3
START_S = 20.0  # where the excerpt of a song begins: earlier, in many songs few instruments play
CHORDS = 24


def family_piece(song: Path, family: str, duration_s: float, seed: int = 0) -> list[Event]:
    """``duration_s`` of a song from ``START_S`` on, with programs of ``family``. No note begins in the last second."""
    rng = np.random.default_rng(seed)
    programs = BAND_PROGRAMS if family == BAND else tuple(8 * FAMILIES.index(family) + rng.permutation(8)[:TRACKS])
    events: list[Event] = []
    for channel, notes in enumerate(tracks_of(song)[:TRACKS]):
        events.append(Event(0.0, PROGRAM | channel, int(programs[channel])))
        lower = 12 if family == "bass" or (family == BAND and channel == TRACKS - 1) else 0
        for onset_s, offset_s, pitch, velocity in notes:
            if START_S <= onset_s < START_S + duration_s - 1:
                events += note(channel, onset_s - START_S, offset_s - onset_s, pitch - lower, velocity)
    if family == BAND:
        events += drum_pattern(rng, duration_s - 1)
    return sorted(events, key=order)


def test_set(songs: Sequence[Path], duration_s: float) -> list[tuple[str, str, list[Event]]]:
    """(family, song name, events) for every family and every song that has notes in the excerpt."""
    pieces = [
        (family, song.stem, family_piece(song, family, duration_s, seed=k)) for family in (*FAMILIES, BAND) for k, song in enumerate(songs)
    ]
    return [p for p in pieces if any(e.kind == NOTE_ON for e in p[2])]


def phrase(program: int) -> tuple[list[Event], float]:
    """Three notes of a program, low to high, and their duration in seconds."""
    events = [Event(0.0, PROGRAM, program)]
    for k, pitch in enumerate((48, 60, 72)):
        events += note(0, 0.1 + 0.8 * k, 0.6, pitch, 100)
    return sorted(events, key=order), 2.7


def crescendo(program: int, velocities: Sequence[int]) -> tuple[list[Event], float]:
    """One note per second, each at the next of ``velocities``, and their duration in seconds."""
    events = [Event(0.0, PROGRAM, program)]
    for k, velocity in enumerate(velocities):
        events += note(0, 0.1 + k, 0.6, 60, velocity)
    return sorted(events, key=order), len(velocities) + 0.2


def single_notes(program: int, count: int, seed: int) -> tuple[list[Event], list[float], float]:
    """Notes a second apart, each at a random moment within a frame; their onsets, and their duration in seconds."""
    rng = np.random.default_rng(seed)
    onsets_s = [0.1 + k + float(u) for k, u in enumerate(rng.uniform(0, 0.02, count))]
    events = [Event(0.0, PROGRAM, program)]
    for onset_s, pitch in zip(onsets_s, rng.integers(48, 84, count), strict=True):
        events += note(0, onset_s, 0.5, int(pitch), 100)
    return sorted(events, key=order), onsets_s, count + 0.2


def strokes(pitches: Sequence[int]) -> tuple[list[Event], float]:
    """Each of ``pitches`` of the drum kit once, a second apart, and their duration in seconds."""
    events: list[Event] = []
    for k, pitch in enumerate(pitches):
        events += note(DRUM_CHANNEL, 0.1 + k, 0.3, pitch, 110)
    return sorted(events, key=order), len(pitches) + 0.2


def chord_changes(program: int, rng: np.random.Generator) -> tuple[list[Event], float]:
    """Chords of one to three notes that end as new ones begin, with random pace and velocities, and their duration in seconds."""
    events = [Event(0.0, PROGRAM, program)]
    base, step_s = int(rng.integers(45, 65)), float(rng.choice((1 / 16, 1 / 8, 1 / 4)))
    for k in range(CHORDS):
        begins_s, ends_s = (0.1 + step_s * chord for chord in (k, k + 1 + k % 2))  # equal to the onset of a later chord, to the last bit
        for interval in (0, 4, 7)[: 1 + k % 3]:
            pitch = base + interval + (0, 2, -1, 5)[k % 4]
            events += [Event(begins_s, NOTE_ON, pitch, int(rng.integers(50, 120))), Event(ends_s, NOTE_OFF, pitch)]
    return sorted(events, key=order), 0.1 + (CHORDS + 1) * step_s + 2.0
