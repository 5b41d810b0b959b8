"""MIDI files as the public code of Spectrogram Diffusion reads them: by note-seq, whose import takes about a second.

Only published checkpoints need this, since their tokens are those of that code. What note-seq ignores is ignored here too: tempo events
outside the first track, channels that share a track, bend range, the controllers 120 to 123.
"""

from __future__ import annotations

import io
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mido

from specdiffd.base.errors import MidiFileError
from specdiffd.base.events import Controllers, Curve, Note, Performance
from specdiffd.base.messages import CONTROLLERS, CURVES, CUT_BY, DEFAULTS
from specdiffd.midi.file import mended, read_song

BEND_RANGE_SEMITONES = 2.0
MOST_TICKS = 10_000_000  # pretty_midi makes an array of them, and refuses files with more as damaged


def published_performance(path: Path, strict: bool = False) -> Performance:
    """The notes of a MIDI file, sustain pedal applied, and the controllers of each of its instruments.

    Channels are note-seq's instrument numbers: one for each combination of track, channel and program.

    Raises:
        MidiFileError: it cannot be read.
    """
    read_song(path, strict)  # refuses a file that is too long before note-seq reads it
    sequence = _read(path)
    notes = [Note(n.start_time, n.pitch, n.velocity, n.program, n.instrument, n.is_drum, n.end_time) for n in sequence.notes]
    notes.sort(key=lambda n: (n.onset_s, n.is_drum, n.program, n.pitch))
    _choke_drums(notes)
    return Performance(notes, _controllers(sequence), sequence.total_time)


def _choke_drums(notes: Sequence[Note]) -> None:
    """Let each drum of an exclusive group cut off the earlier ones of its group; ``notes`` in order of onset."""
    last: dict[tuple[int, int], Note] = {}
    for note in notes:
        for pitch in CUT_BY.get(note.pitch, ()) if note.is_drum else ():
            earlier = last.pop((note.channel, pitch), None)
            if earlier is not None:
                earlier.choke_s = min(earlier.choke_s, note.onset_s)
        if note.is_drum:
            last[note.channel, note.pitch] = note


def _read(path: Path) -> Any:
    """A NoteSequence with the pedal applied."""
    song = mido.MidiFile(file=io.BytesIO(mended(path).data))
    lengths = [sum(message.time for message in track) for track in song.tracks]
    if max(lengths) > MOST_TICKS:
        raise MidiFileError(f"{path}: {max(lengths)} ticks, expected at most {MOST_TICKS} for a published instrument")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydub looks for ffmpeg, pretty_midi comments on type 1 files
        import note_seq

        try:
            return note_seq.apply_sustain_control_changes(note_seq.midi_to_note_sequence(_closed(song, lengths)))
        except Exception as error:  # pretty_midi and note-seq raise errors of many types
            raise MidiFileError(f"{path}: note-seq, which reads for published instruments, cannot read it") from error


def _closed(song: mido.MidiFile, lengths: list[int]) -> bytes:
    """The song as a file in which all notes end: note-seq leaves out those that do not. The missing note-offs come at the song's end."""
    for track, length in zip(song.tracks, lengths, strict=True):
        held: dict[tuple[int, int], bool] = {}
        for message in track:
            if message.type in ("note_on", "note_off"):
                held[message.channel, message.note] = message.type == "note_on" and message.velocity > 0
        still = [key for key, down in held.items() if down]
        if still:
            rest = max(lengths) - length + track.pop().time  # the last message of a mended track is its end
            track += [mido.Message("note_off", channel=c, note=p, time=0 if k else rest) for k, (c, p) in enumerate(still)]
    file = io.BytesIO()
    song.save(file=file)
    return file.getvalue()


def _controllers(sequence: Any) -> dict[int, Controllers]:
    channels: defaultdict[int, Controllers] = defaultdict(Controllers)
    values: defaultdict[int, dict[int, int]] = defaultdict(lambda: dict(DEFAULTS))
    for note in sequence.notes:
        channels[note.instrument]
    for change in sorted(sequence.control_changes, key=lambda c: c.time):
        if (row := CONTROLLERS.get(change.control_number)) is not None:
            values[change.instrument][row.number] = change.control_value
            curve: Curve = getattr(channels[change.instrument], row.curve)
            curve.add(change.time, CURVES[row.curve](values[change.instrument]))
    for bend in sorted(sequence.pitch_bends, key=lambda b: b.time):
        channels[bend.instrument].pitch_semitones.add(bend.time, bend.bend / 8192 * BEND_RANGE_SEMITONES)
    return dict(channels)
