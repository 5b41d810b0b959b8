"""Where a MIDI file is broken: a walk through its chunks and events (Standard MIDI Files 1.0), for error messages."""

from __future__ import annotations

from typing import NamedTuple

LENGTHS = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}


class Damage(NamedTuple):
    """The first thing that is wrong."""

    track: int | None  # counted from 1; None: the header
    byte: int  # offset in the file
    reason: str

    def __str__(self) -> str:
        return f"{'header' if self.track is None else f'track {self.track}'}, byte {self.byte}: {self.reason}"


def find_damage(data: bytes) -> Damage | None:
    """The first violation of the format; None: there is none."""
    if data[:4] != b"MThd":
        return Damage(None, 0, f"begins with {data[:4]!r}, expected b'MThd'")
    if len(data) < 14:
        return Damage(None, len(data), "the file ends within the header, expected 14 bytes")
    length = int.from_bytes(data[4:8], "big")
    if length < 6:
        return Damage(None, 4, f"header length {length}, expected 6")
    kind, tracks, division = (int.from_bytes(data[k : k + 2], "big") for k in (8, 10, 12))
    if kind > 2:
        return Damage(None, 8, f"format {kind}, expected 0, 1 or 2")
    if division == 0:
        return Damage(None, 12, "0 ticks per quarter note")
    at, track = 8 + length, 0
    while at < len(data) and track < tracks:
        name, end = data[at : at + 4], at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
        if len(data) < at + 8:
            return Damage(track + 1, at, "the file ends within a chunk's head, expected 8 bytes")
        if end > len(data):
            return Damage(track + 1, at + 4, f"the chunk has {end - at - 8} bytes, only {len(data) - at - 8} are left")
        if name == b"MTrk":
            track += 1
            found = _track_damage(data, at + 8, end, track)
            if found is not None:
                return found
        at = end
    if track < tracks:
        return Damage(track + 1, at, f"missing: the header says {tracks} tracks")
    return None


def _track_damage(data: bytes, at: int, end: int, track: int) -> Damage | None:
    running = 0
    while at < end:
        event = at
        size = _variable_length(data, at, end)
        if size is None:
            return Damage(track, at, "a delta time of more than 4 bytes, or cut off")
        at += size[1]
        if at >= end:
            return Damage(track, event, "a delta time without an event")
        status = data[at]
        if status >= 0x80:
            at += 1
            running = status if status < 0xF0 else running
        elif running:
            status = running
        else:
            return Damage(track, at, f"{status:#04x} where a status byte is expected")
        if status in (0xF0, 0xF7, 0xFF):
            at += status == 0xFF
            size = _variable_length(data, at, end)
            if size is None or at + size[1] + size[0] > end:
                return Damage(track, event, "a meta or system exclusive event that does not end within the track")
            if status == 0xFF and data[at - 1] == 0x51 and size[0] != 3:
                return Damage(track, event, f"a tempo of {size[0]} bytes, expected 3")
            at += size[0] + size[1]
        elif status & 0xF0 in LENGTHS:
            length = LENGTHS[status & 0xF0]
            for k in range(at, at + length):
                if k >= end:
                    return Damage(track, event, "an event that does not end within the track")
                if data[k] >= 0x80:
                    return Damage(track, k, f"data byte {data[k]:#04x}, expected at most 0x7f")
            at += length
        else:
            return Damage(track, event, f"status {status:#04x}, which no file may hold")
    return None


def _variable_length(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Value and number of bytes of a variable-length quantity."""
    value = 0
    for count in range(1, 5):
        if at + count > end:
            return None
        byte = data[at + count - 1]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, count
    return None
