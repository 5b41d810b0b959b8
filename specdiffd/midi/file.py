"""MIDI files to events: the same events that a port receives if somebody plays the file into it."""

from __future__ import annotations

import io
import stat
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import mido

from specdiffd.base.errors import MidiFileError
from specdiffd.base.events import Event
from specdiffd.base.messages import ALL_NOTES_OFF, CONTROL, NOTE_ON, SUSTAIN
from specdiffd.midi.mend import Mended, mend
from specdiffd.midi.messages import channel_message
from specdiffd.midi.track import Damage

LONGEST_S = 12 * 3600.0  # a longer song has damaged times; its audio would fill 4 GB
MOST_BYTES = 64 << 20  # a hundred times the largest songs; without a limit, a pipe that never ends would fill the memory
NAMED_DAMAGES = 10
DEFAULT_TEMPO_US = 500_000  # a quarter note, before the first tempo event


class Song(NamedTuple):
    """A file's events in the order in which they act, and its length: until its last event of any kind.

    The last events let go of all notes and pedals.
    """

    events: list[Event]
    end_s: float
    warnings: list[str]


class Track(NamedTuple):
    """One track's messages with their ticks since its beginning, and how many it has."""

    messages: list[tuple[int, mido.Message]]
    ticks: int


def read_song(path: Path, strict: bool = False) -> Song:
    """The events of a MIDI file of any format; the sequences of format 2 one after the other.

    Args:
        path: a file or a pipe.
        strict: refuse a damaged file. Without it damage is mended, and named in the warnings.

    Raises:
        MidiFileError: it cannot be read or played; the text names file, track, byte and cause.
    """
    data, damages = mended(path, strict)
    file = mido.MidiFile(file=io.BytesIO(data))
    tracks = [_track(track) for track in file.tracks]
    warnings = damage_texts(path, damages)
    if file.type == 2 and len(tracks) > 1:
        warnings.append(f"{path}: {len(tracks)} sequences (format 2), played one after the other")
    sequences = [[track] for track in tracks] if file.type == 2 else [tracks]
    clocks = [TickClock(sequence, file.ticks_per_beat) for sequence in sequences]
    lengths_s = [clock.seconds(max(track.ticks for track in sequence)) for clock, sequence in zip(clocks, sequences, strict=True)]
    if sum(lengths_s) > LONGEST_S:
        raise MidiFileError(f"{path}: lasts {sum(lengths_s) / 3600:.1f} hours, expected at most {LONGEST_S / 3600:.0f}: a damaged time?")
    events, start_s = [], 0.0
    for sequence, clock, length_s in zip(sequences, clocks, lengths_s, strict=True):
        events += _events(sequence, clock, start_s, start_s + length_s)
        start_s += length_s
    return Song(events, start_s, warnings)


def read_tracks(path: Path) -> list[list[tuple[float, mido.Message]]]:
    """The messages of each track with their times in seconds.

    Raises:
        MidiFileError: the file cannot be read; the text names file, track, byte and cause.
    """
    file = mido.MidiFile(file=io.BytesIO(mended(path).data))
    tracks = [_track(track) for track in file.tracks]
    clock = TickClock(tracks, file.ticks_per_beat)
    return [[(clock.seconds(tick), message) for tick, message in track.messages] for track in tracks]


def mended(path: Path, strict: bool = False) -> Mended:
    """A file's bytes without errors, and the errors that they had.

    Raises:
        MidiFileError: it cannot be read or mended, or it is damaged and ``strict`` refuses that.
    """
    try:
        found = mend(_content(path))
    except MidiFileError as error:
        raise MidiFileError(f"{path}: {error}") from None
    except OSError as error:
        raise MidiFileError(f"{path}: {error.strerror or error}") from error
    if strict and found.damages:
        raise MidiFileError("; ".join(damage_texts(path, found.damages)))
    return found


def damage_texts(path: Path, damages: Sequence[Damage]) -> list[str]:
    """The first ``NAMED_DAMAGES`` as lines, and how many more there are."""
    texts = [f"{path}: {damage}" for damage in damages[:NAMED_DAMAGES]]
    more = len(damages) - len(texts)
    return [*texts, f"{path}: {more} more places"] if more else texts


def _content(path: Path) -> bytes:
    """The content of a file or pipe.

    Raises:
        MidiFileError: a folder, or more than ``MOST_BYTES``.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise MidiFileError("a folder, expected a MIDI file")
    with path.open("rb") as file:
        data = file.read(4)
        if data in (b"MThd", b"RIFF"):
            data += file.read(MOST_BYTES)
    if len(data) > MOST_BYTES:
        raise MidiFileError(f"more than {MOST_BYTES >> 20} MiB, expected a MIDI file")
    return data


class TickClock:
    """Turns ticks into seconds by the tempo events of all tracks. It counts in integers, so that rounding errors do not add up."""

    def __init__(self, tracks: Iterable[Track], ticks_per_beat: int) -> None:
        tempi = [(tick, m.tempo) for track in tracks for tick, m in track.messages if m.type == "set_tempo"]
        self._scale = 1_000_000 * ticks_per_beat
        self._ticks, self._tempi, self._starts = [0], [DEFAULT_TEMPO_US], [0]
        for tick, tempo in sorted(tempi, key=lambda row: row[0]):
            self._starts.append(self._starts[-1] + (tick - self._ticks[-1]) * self._tempi[-1])
            self._ticks.append(tick)
            self._tempi.append(tempo)

    def seconds(self, tick: int) -> float:
        """From the beginning to ``tick``."""
        k = bisect_right(self._ticks, tick) - 1
        return (self._starts[k] + (tick - self._ticks[k]) * self._tempi[k]) / self._scale


def _track(messages: mido.MidiTrack) -> Track:
    tick, timed = 0, []
    for message in messages:
        tick += message.time
        timed.append((tick, message))
    return Track(timed, tick)


def _events(tracks: Sequence[Track], clock: TickClock, start_s: float, end_s: float) -> list[Event]:
    """One sequence's events in order of time. Events of the same tick keep the order of the tracks, and within a track their own."""
    rows = []
    for track in tracks:
        port = 0
        for tick, message in track.messages:
            if message.type == "midi_port":
                port = message.port
            elif not message.is_meta and (found := channel_message(message.bytes())) is not None:
                rows.append((tick, port, found))
    places = {port: place for place, port in enumerate(sorted({port for _, port, _ in rows}))}
    rows.sort(key=lambda row: row[0])
    events = [Event(start_s + clock.seconds(tick), *found, places[port]) for tick, port, found in rows]
    return events + _released(events, end_s)


def _released(events: Iterable[Event], end_s: float) -> list[Event]:
    """Events that let go of all notes and pedals that the others may have left."""
    channels = sorted({(e.port, e.status & 0x0F) for e in events if e.kind == NOTE_ON})
    return [Event(end_s, CONTROL | channel, control, 0, port) for port, channel in channels for control in (SUSTAIN, ALL_NOTES_OFF)]
