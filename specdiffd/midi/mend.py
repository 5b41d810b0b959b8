"""Mends damaged MIDI files: each error is named, and mended if the file can still be played (Standard MIDI Files 1.0)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from specdiffd.base.errors import MidiFileError
from specdiffd.midi.track import META, TEMPO, Damage, Track, meta, quantity

FRAME_RATES = {24: (24, 1.0), 25: (25, 1.0), 29: (30, 1.001), 30: (30, 1.0)}  # of SMPTE: frames, and the seconds that they take


class Mended(NamedTuple):
    """A file without errors, and the errors that it had."""

    data: bytes
    damages: list[Damage]


def mend(data: bytes) -> Mended:
    """Mend a MIDI file, which may have a RIFF wrapper.

    Unknown chunks, system messages and wrong meta events that do not matter to the sound are left out. Data bytes are clipped to 0x7f.
    Running status continues after other events. Escapes become the messages that they hold. SMPTE time becomes beats of one second.
    A track that is cut off ends there.

    Raises:
        MidiFileError: it cannot be played; the text names track, byte and cause.
    """
    damages: list[Damage] = []
    start, end = _unwrapped(data)
    kind, count, division, at = _header(data, start, end)
    ticks, second = _ticks_per_beat(data, start, division)
    tracks = [b"".join(_encoded(walk.events(), second, k == 0)) for k, walk in enumerate(_tracks(data, at, end, damages))]
    if not tracks:
        raise MidiFileError(str(Damage(None, at, "no track follows, expected a chunk b'MTrk'")))
    if len(tracks) != count:
        damages.append(Damage(None, start + 10, f"the header says {count} tracks, there are {len(tracks)}"))
    header = b"MThd" + b"".join(n.to_bytes(size, "big") for n, size in ((6, 4), (kind or len(tracks) > 1, 2), (len(tracks), 2), (ticks, 2)))
    return Mended(header + b"".join(b"MTrk" + len(t).to_bytes(4, "big") + t for t in tracks), damages)


def _unwrapped(data: bytes) -> tuple[int, int]:
    """Where the file begins and ends in its RIFF wrapper, if it has one."""
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return 0, len(data)
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return at + 8, min(len(data), at + 8 + size)
        at += 8 + size + size % 2
    raise MidiFileError(str(Damage(None, len(data), "a RIFF file without the chunk b'data', which holds the music")))


def _header(data: bytes, start: int, end: int) -> tuple[int, int, int, int]:
    """Format, number of tracks, division, and where the header ends."""

    def refuse(byte: int, reason: str) -> MidiFileError:
        return MidiFileError(str(Damage(None, start + byte, reason)))

    if data[start : start + 4] != b"MThd":
        raise refuse(0, f"no MIDI file: it begins with {data[start : start + 4]!r}, expected b'MThd'")
    if end - start < 14:
        raise refuse(end - start, "the file ends within the header, expected 14 bytes")
    length, kind, count, division = (int.from_bytes(data[start + a : start + b], "big") for a, b in ((4, 8), (8, 10), (10, 12), (12, 14)))
    if length < 6:
        raise refuse(4, f"header length {length}, expected 6")
    if kind > 2:
        raise refuse(8, f"format {kind}, expected 0, 1 or 2")
    return kind, count, division, start + 8 + length


def _ticks_per_beat(data: bytes, start: int, division: int) -> tuple[int, int | None]:
    """Ticks per beat; and microseconds per beat if the file counts SMPTE frames, else None."""
    if not division & 0x8000:
        if division == 0:
            raise MidiFileError(str(Damage(None, start + 12, "0 ticks per quarter note")))
        return division, None
    frames, ticks = 256 - (division >> 8), division & 0xFF
    if ticks == 0 or frames not in FRAME_RATES:
        rates = ", ".join(map(str, FRAME_RATES))
        raise MidiFileError(str(Damage(None, start + 12, f"{frames} frames a second of {ticks} ticks, expected {rates} of 1 or more")))
    rate, second = FRAME_RATES[frames]
    return rate * ticks, round(1_000_000 * second)


def _tracks(data: bytes, at: int, end: int, damages: list[Damage]) -> Iterator[Track]:
    """The track chunks in order."""
    track = 0
    while at + 8 <= end:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        if size > end - at - 8:
            damages.append(Damage(track + 1, at + 4, f"the chunk has {size} bytes, only {end - at - 8} are left"))
            size = end - at - 8
        if name == b"MTrk":
            track += 1
            yield Track(data, at + 8, at + 8 + size, track, damages)
        else:
            damages.append(Damage(track + 1, at, f"an unknown chunk {name!r}, left out"))
        at += 8 + size
    if at < end:
        damages.append(Damage(track + 1, at, f"{end - at} bytes behind the last chunk"))


def _encoded(events: Iterator[tuple[int, bytes]], second: int | None, first: bool) -> Iterator[bytes]:
    """Events as a track's bytes. In SMPTE time the first track sets the tempo of one beat per ``second``, and all tempo events are left out."""
    waiting = 0
    if second is not None and first:
        yield b"\0" + meta(TEMPO, second.to_bytes(3, "big"))
    for delta, event in events:
        waiting += delta
        if second is not None and event[:2] == bytes((META, TEMPO)):
            continue
        yield quantity(waiting) + event
        waiting = 0
