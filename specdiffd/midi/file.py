"""MIDI files to a performance, read by note-seq. The only module that imports it: that takes about a second."""

from __future__ import annotations

import io
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import mido

from specdiffd.errors import MidiFileError
from specdiffd.events import Controllers, Note, Performance, gain_db
from specdiffd.midi.damage import find_damage
from specdiffd.midi.score import choke_drums

BEND_RANGE_SEMITONES = 2.0
LONGEST_S = 24 * 3600.0


def load_performance(path: Path) -> Performance:
    """The notes of a MIDI file, sustain pedal applied, and the controllers of each of its instruments.

    Channels are note-seq's instrument numbers: one for each combination of track, channel and program.

    Raises:
        MidiFileError: it cannot be read.
    """
    sequence = _read(path)
    notes = [Note(n.start_time, n.pitch, n.velocity, n.program, n.instrument, n.is_drum, n.end_time) for n in sequence.notes]
    notes.sort(key=lambda n: (n.onset_s, n.is_drum, n.program, n.pitch))
    choke_drums(notes)
    return Performance(notes, _controllers(sequence), sequence.total_time)


def _read(path: Path) -> Any:
    """A NoteSequence with the pedal applied."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MidiFileError(f"{path}: {error.strerror or error}") from error
    if data[:4] != b"MThd":
        raise MidiFileError(f"{path}: not a MIDI file ({find_damage(data)})")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydub looks for ffmpeg, pretty_midi comments on type 1 files
        import note_seq

        try:
            sequence = note_seq.apply_sustain_control_changes(note_seq.midi_to_note_sequence(_closed(data)))
        except Exception as error:  # mido, pretty_midi and note-seq raise whatever the damage leads to
            raise MidiFileError(f"{path}: {find_damage(data) or f'{type(error).__name__}: {error}'}") from error
    if not 0 <= sequence.total_time <= LONGEST_S:
        raise MidiFileError(
            f"{path}: lasts {sequence.total_time / 3600:.0f} hours, expected at most {LONGEST_S / 3600:.0f}: a damaged time?"
        )
    return sequence


def _closed(data: bytes) -> bytes:
    """A MIDI file whose notes that are never let go, which its readers leave out, end with the song."""
    song = mido.MidiFile(file=io.BytesIO(data))
    lengths = [sum(message.time for message in track) for track in song.tracks]
    held: list[dict[tuple[int, int], bool]] = []
    for track in song.tracks:
        held.append({})
        for message in track:
            if message.type in ("note_on", "note_off"):
                held[-1][message.channel, message.note] = message.type == "note_on" and message.velocity > 0
    if not any(any(keys.values()) for keys in held):
        return data
    for track, length, keys in zip(song.tracks, lengths, held, strict=True):
        rest = max(lengths) - length
        while track and track[-1].type == "end_of_track":
            rest += track.pop().time
        for (channel, pitch), down in keys.items():
            if down:
                track.append(mido.Message("note_off", channel=channel, note=pitch, time=rest))
                rest = 0
    file = io.BytesIO()
    song.save(file=file)
    return file.getvalue()


def _controllers(sequence: Any) -> dict[int, Controllers]:
    channels: defaultdict[int, Controllers] = defaultdict(Controllers)
    levels: defaultdict[int, dict[int, int]] = defaultdict(lambda: {7: 100, 11: 127})
    for note in sequence.notes:
        channels[note.instrument]
    for change in sorted(sequence.control_changes, key=lambda c: c.time):
        curves, level = channels[change.instrument], levels[change.instrument]
        if change.control_number in (7, 11):
            level[change.control_number] = change.control_value
            curves.gain_db.add(change.time, gain_db(level[7], level[11]))
        elif change.control_number == 1:
            curves.modulation.add(change.time, change.control_value / 127)
        elif change.control_number == 91:
            curves.reverb.add(change.time, change.control_value / 127)
        elif change.control_number == 64:
            curves.pedal.add(change.time, float(change.control_value >= 64))
    for bend in sorted(sequence.pitch_bends, key=lambda b: b.time):
        channels[bend.instrument].bend_semitones.add(bend.time, bend.bend / 8192 * BEND_RANGE_SEMITONES)
    return dict(channels)
