"""Songs from MIDI files in new instrumentation."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np

from specdiffd.base.events import Event
from specdiffd.midi.file import read_tracks
from specdiffd.reference.drums import drum_pattern
from specdiffd.reference.parts import Rng, melodic_channels, note, order, set_up


def song_piece(rng: Rng, path: Path, duration_s: float) -> list[Event]:
    """A random stretch of a song with other programs, key, tempo and velocities; half of the time with drums."""
    tracks = tracks_of(path)
    tempo = float(np.exp(rng.uniform(np.log(0.7), np.log(1.5))))
    transpose = int(rng.integers(-6, 7))
    end_s = max(notes[-1][0] for notes in tracks) / tempo
    start_s = float(rng.uniform(0, max(0.0, end_s - duration_s)))
    events: list[Event] = []
    channels = iter(melodic_channels(rng))
    for notes in tracks:
        if len(tracks) > 1 and rng.random() < 0.15:
            continue
        doubles = 2 if rng.random() < 0.15 else 1
        for _ in range(doubles):
            channel = next(channels)
            octave = int(rng.choice([-12, 0, 0, 0, 12])) if doubles == 2 else 0
            louder = float(rng.uniform(0.5, 1.3))
            events += set_up(rng, channel, duration_s)
            for onset_s, offset_s, pitch, velocity in notes:
                on, off = onset_s / tempo - start_s, offset_s / tempo - start_s
                key = pitch + transpose + octave
                if 0 <= on < duration_s and 0 <= key < 128:
                    spread = float(rng.normal(0, 0.004))
                    events += note(channel, max(0.0, on + spread), off - on, key, velocity * louder + rng.normal(0, 6))
    if rng.random() < 0.5:
        events += drum_pattern(rng, duration_s)
    return sorted(events, key=order)


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
