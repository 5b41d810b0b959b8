"""Pieces to learn from, made at random: songs from MIDI files in new instrumentation, and generated music that covers
what songs do not (every program and pitch, all velocities, single notes, long notes, fast repeats, drums, controllers).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import mido
import numpy as np

from specdiffd.base.events import Event
from specdiffd.base.messages import BEND, CONTROL, DRUM_CHANNEL, NOTE_OFF, NOTE_ON, PROGRAM
from specdiffd.midi.file import read_tracks

Rng = np.random.Generator
# What people actually play: half of all parts are drawn from these, the others from all 128 programs.
COMMON_PROGRAMS = (
    0,
    0,
    0,
    1,
    4,
    5,
    16,
    19,
    24,
    25,
    26,
    27,
    29,
    30,
    32,
    33,
    38,
    40,
    41,
    42,
    46,
    48,
    48,
    49,
    52,
    56,
    57,
    60,
    61,
    65,
    66,
    68,
    71,
    73,
    73,
    80,
    81,
    88,
    89,
)
KIT = range(35, 82)


def random_piece(rng: Rng, songs: Sequence[Path], duration_s: float) -> list[Event]:
    """One piece: a re-orchestrated song half of the time (when there are songs), else generated music."""
    if songs and rng.random() < 0.5:
        return song_piece(rng, songs[int(rng.integers(len(songs)))], duration_s)
    return generated_piece(rng, duration_s)


def solo_piece(rng: Rng, songs: Sequence[Path], duration_s: float) -> list[Event]:
    """One program, any of them, or the kit: note after note over the whole keyboard, each left to ring out for a moment."""
    drums = rng.random() < 0.08
    channel, keys = (DRUM_CHANNEL, KIT) if drums else (0, range(21, 109))
    events = [Event(0.0, PROGRAM | channel, 0 if drums else int(rng.integers(128)))]
    t = float(rng.uniform(0, 0.5))
    while t < duration_s:
        length = float(np.exp(rng.uniform(np.log(0.05), np.log(2.5))))
        events += note(channel, t, length, int(rng.integers(keys.start, keys.stop)), float(rng.uniform(10, 127)))
        t += length + float(rng.uniform(0.05, 0.8))
    return sorted(events, key=order)


def random_program(rng: Rng) -> int:
    """A General MIDI program, 0 to 127."""
    return int(rng.choice(COMMON_PROGRAMS)) if rng.random() < 0.5 else int(rng.integers(128))


def song_piece(rng: Rng, path: Path, duration_s: float) -> list[Event]:
    """A stretch of the song at ``path``, its tracks given other programs, keys, tempi and velocities, maybe with drums."""
    tracks = tracks_of(path)
    tempo = float(np.exp(rng.uniform(np.log(0.7), np.log(1.5))))
    transpose = int(rng.integers(-6, 7))
    end_s = max(notes[-1][0] for notes in tracks) / tempo
    start_s = float(rng.uniform(0, max(0.0, end_s - duration_s)))
    events: list[Event] = []
    channels = iter(_melodic_channels(rng))
    for notes in tracks:
        if len(tracks) > 1 and rng.random() < 0.15:
            continue
        doubles = 2 if rng.random() < 0.15 else 1
        for _ in range(doubles):
            channel = next(channels)
            octave = int(rng.choice([-12, 0, 0, 0, 12])) if doubles == 2 else 0
            louder = float(rng.uniform(0.5, 1.3))
            events += _set_up(rng, channel, duration_s)
            for onset_s, offset_s, pitch, velocity in notes:
                on, off = onset_s / tempo - start_s, offset_s / tempo - start_s
                key = pitch + transpose + octave
                if 0 <= on < duration_s and 0 <= key < 128:
                    spread = float(rng.normal(0, 0.004))
                    events += note(channel, max(0.0, on + spread), off - on, key, velocity * louder + rng.normal(0, 6))
    if rng.random() < 0.5:
        events += drum_pattern(rng, duration_s)
    return sorted(events, key=order)


def generated_piece(rng: Rng, duration_s: float) -> list[Event]:
    """One to six parts of random texture."""
    parts = int(rng.choice([1, 1, 1, 2, 2, 3, 4, 6]))
    events: list[Event] = []
    for channel in _melodic_channels(rng)[:parts]:
        events += _set_up(rng, channel, duration_s)
        texture: Callable[[Rng, int, float], list[Event]] = rng.choice(
            np.array([_lines, _lines, _chords, _repeats, _isolated, _isolated, _long_notes])
        )
        events += texture(rng, channel, duration_s)
    if rng.random() < 0.35:
        events += _drum_hits(rng, duration_s) if rng.random() < 0.5 else drum_pattern(rng, duration_s)
    return sorted(events, key=order)


def order(event: Event) -> tuple[float, int]:
    """Sort key of events."""
    return event.time_s, event.kind == NOTE_ON  # offs and controllers before the note they share a moment with


def tracks_of(path: Path) -> list[list[tuple[float, float, int, int]]]:
    """Notes (onset_s, offset_s, pitch, velocity) of each track that has any.

    Raises:
        MidiFileError: the file cannot be read.
    """
    found = (_notes(track) for track in read_tracks(path))
    return [notes for notes in found if notes]


def _notes(track: list[tuple[float, mido.Message]]) -> list[tuple[float, float, int, int]]:
    notes, open_notes = [], {}
    for time_s, message in track:
        if message.type == "note_on" and message.velocity > 0:
            open_notes[message.note] = (time_s, message.velocity)
        elif message.type in ("note_on", "note_off") and message.note in open_notes:
            onset_s, velocity = open_notes.pop(message.note)
            notes.append((onset_s, time_s, message.note, velocity))
    return sorted(notes)


def _melodic_channels(rng: Rng) -> list[int]:
    return [int(c) for c in rng.permutation([c for c in range(16) if c != DRUM_CHANNEL])]


def note(channel: int, onset_s: float, length_s: float, pitch: int, velocity: float) -> list[Event]:
    """A note-on and its note-off."""
    strength = int(np.clip(round(velocity), 1, 127))
    return [
        Event(onset_s, NOTE_ON | channel, pitch, strength),
        Event(onset_s + max(0.01, length_s), NOTE_OFF | channel, pitch, 0),
    ]


def _set_up(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    """Program, and sometimes volume, expression, modulation, bend and pedal over the length of the piece."""
    events = [Event(0.0, PROGRAM | channel, random_program(rng))]
    if rng.random() < 0.3:
        events.append(Event(0.0, CONTROL | channel, 7, int(rng.integers(50, 128))))
    if rng.random() < 0.15:
        events += _wander(rng, duration_s, lambda t, u: Event(t, CONTROL | channel, 11, int(40 + 87 * u)))
    if rng.random() < 0.08:
        events += _wander(rng, duration_s, lambda t, u: Event(t, CONTROL | channel, 1, int(127 * u)))
    if rng.random() < 0.05:
        events += _wander(rng, duration_s, lambda t, u: Event(t, BEND | channel, 0, int(127 * u)))
    if rng.random() < 0.3:
        t = float(rng.uniform(0, 2))
        while t < duration_s:
            down = float(rng.uniform(0.2, 3.0))
            events += [Event(t, CONTROL | channel, 64, 127), Event(t + down, CONTROL | channel, 64, 0)]
            t += down + float(rng.uniform(0.05, 1.0))
    return events


def _wander(rng: Rng, duration_s: float, event: Callable[[float, float], Event]) -> list[Event]:
    """Glides between random values in steps of 20 ms, with rests."""
    events, t, u = [], 0.0, 0.5
    while t < duration_s:
        target, glide = float(rng.random()), float(rng.uniform(0.05, 1.5))
        events += [event(t + s, u + (target - u) * s / glide) for s in np.arange(0, glide, 0.02)]
        u = target
        t += glide + float(rng.exponential(1.0))
    return events


def _velocities(rng: Rng) -> Callable[[], float]:
    centre, spread = rng.uniform(30, 115), rng.uniform(2, 30)
    return lambda: float(np.clip(rng.normal(centre, spread), 5, 127))


def _lines(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    """A melodic line of one kind of note lengths."""
    events: list[Event] = []
    t, pitch, velocity = float(rng.uniform(0, 1)), int(rng.integers(36, 92)), _velocities(rng)
    beat, legato = float(np.exp(rng.uniform(np.log(0.08), np.log(1.2)))), float(rng.uniform(0.2, 1.2))
    while t < duration_s:
        step = beat * float(rng.choice([0.5, 1, 1, 2]))
        if rng.random() < 0.85:
            events += note(channel, t, step * legato, pitch, velocity())
        pitch = int(np.clip(pitch + rng.integers(-7, 8), 21, 108))
        t += step
    return events


def _chords(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    events: list[Event] = []
    t, velocity = float(rng.uniform(0, 1)), _velocities(rng)
    while t < duration_s:
        step, low = float(np.exp(rng.uniform(np.log(0.2), np.log(4.0)))), int(rng.integers(30, 80))
        pitches = low + np.unique(np.cumsum(rng.integers(1, 8, size=int(rng.integers(2, 8)))))
        roll = float(rng.choice([0, 0, 0.02]))
        for k, pitch in enumerate(p for p in pitches if p <= 108):
            events += note(channel, t + roll * k + abs(rng.normal(0, 0.003)), step * float(rng.uniform(0.5, 1.0)), int(pitch), velocity())
        t += step
    return events


def _repeats(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    events: list[Event] = []
    t, velocity = float(rng.uniform(0, 1)), _velocities(rng)
    while t < duration_s:
        pitch, step = int(rng.integers(28, 100)), float(rng.uniform(0.05, 0.25))
        for _ in range(int(rng.integers(2, 12))):
            events += note(channel, t, step * float(rng.uniform(0.3, 0.95)), pitch, velocity())
            t += step
        t += float(rng.exponential(0.3))
    return events


def _isolated(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    """Single notes over the whole keyboard, each left to ring out."""
    events: list[Event] = []
    t = float(rng.uniform(0, 1))
    while t < duration_s:
        length = float(np.exp(rng.uniform(np.log(0.03), np.log(4.0))))
        events += note(channel, t, length, int(rng.integers(21, 109)), float(rng.uniform(10, 127)))
        t += length + float(rng.uniform(0.05, 1.5))
    return events


def _long_notes(rng: Rng, channel: int, duration_s: float) -> list[Event]:
    events: list[Event] = []
    t = 0.0
    while t < duration_s:
        for pitch in rng.integers(28, 96, size=int(rng.integers(1, 4))):
            events += note(channel, t + float(rng.uniform(0, 1)), float(rng.uniform(3, 18)), int(pitch), float(rng.uniform(30, 120)))
        t += float(rng.uniform(4, 16))
    return events


def _drum_hits(rng: Rng, duration_s: float) -> list[Event]:
    """Strokes on the whole kit, at random."""
    events: list[Event] = []
    t, rate = 0.0, float(rng.uniform(1.5, 8))
    while t < duration_s:
        events += note(DRUM_CHANNEL, t, float(rng.uniform(0.03, 0.5)), int(rng.integers(KIT.start, KIT.stop)), float(rng.uniform(20, 127)))
        t += float(rng.exponential(1 / rate)) + 0.02
    return events


def drum_pattern(rng: Rng, duration_s: float) -> list[Event]:
    """A bar of sixteenths, repeated with small changes."""
    step = 60 / float(rng.uniform(60, 180)) / 4
    voices = [
        int(rng.choice([35, 36])),
        int(rng.choice([38, 40, 37, 39])),
        int(rng.choice([42, 44, 51])),
        46,
        *rng.integers(41, 82, size=2).tolist(),
    ]
    density = np.array([0.25, 0.18, 0.6, 0.08, 0.06, 0.06])
    grid = rng.random((6, 16)) < density[:, None]
    grid[0, 0] = grid[1, [4, 12]] = True
    loud, swing = rng.uniform(40, 120, size=6), float(rng.choice([0, 0, 0.15]))
    events: list[Event] = []
    t = float(rng.uniform(0, step))
    while t < duration_s:
        for s in range(16):
            for v in range(6):
                if grid[v, s] != (rng.random() < 0.02):
                    at = t + step * (s + swing * (s % 2)) + abs(float(rng.normal(0, 0.003)))
                    events += note(DRUM_CHANNEL, at, step * 0.9, voices[v], loud[v] + rng.normal(0, 8))
        t += 16 * step
    return events
