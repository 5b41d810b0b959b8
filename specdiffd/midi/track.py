"""One track of a MIDI file, event by event, mended where it can be (Standard MIDI Files 1.0)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from mido.tokenizer import Tokenizer

from specdiffd.base.errors import MidiFileError
from specdiffd.base.messages import SYSEX, SYSEX_END

DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xF9: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFD: 0, 0xFE: 0}
META = 0xFF
PORT, END_OF_TRACK, TEMPO, SMPTE_OFFSET, TIME_SIGNATURE, KEY_SIGNATURE = 0x21, 0x2F, 0x51, 0x54, 0x58, 0x59
META_LENGTHS = {
    0x00: (0, 2),
    0x20: (1,),
    PORT: (1,),
    END_OF_TRACK: (0,),
    TEMPO: (3,),
    SMPTE_OFFSET: (5,),
    TIME_SIGNATURE: (4,),
    KEY_SIGNATURE: (2,),
}
# For meta events whose values can be wrong: a test of the value, and the reason given if it fails.
META_VALUES: dict[int, tuple[Callable[[bytes], bool], str]] = {
    TEMPO: (lambda v: any(v), "a tempo of 0 microseconds"),
    SMPTE_OFFSET: (lambda v: v[0] >> 5 < 4, "an SMPTE offset of an unknown frame rate"),
    TIME_SIGNATURE: (lambda v: v[0] > 0 and v[1] < 8, "a time signature that is none"),
    KEY_SIGNATURE: (lambda v: (v[0] < 8 or v[0] > 248) and v[1] < 2, "a key signature that is none"),
}
MOST_BYTES = 1_000_000  # of a meta or system exclusive event: mido refuses longer ones
MOST_TICKS = 1 << 40  # of a track, so that times in ticks are exact as floats


class Damage(NamedTuple):
    """One error in a file."""

    track: int | None  # counted from 1; None: the header
    byte: int  # offset in the file
    reason: str

    def __str__(self) -> str:
        return f"{'header' if self.track is None else f'track {self.track}'}, byte {self.byte}: {self.reason}"


class Track:
    """One track's events, mended."""

    def __init__(self, data: bytes, at: int, end: int, track: int, damages: list[Damage]) -> None:
        self._data, self._at, self._end, self._track, self._damages = data, at, end, track, damages
        self._running = 0  # the running status; 0: none
        self._interrupted = False  # whether a system or meta event came since, which ends running status
        self._sysex: bytes | None = None  # the beginning of a message that goes on in a later event
        self._begin = at  # where the present event begins

    def events(self) -> Iterator[tuple[int, bytes]]:
        """Pairs of the ticks since the previous event and the event's bytes with their status; the end of the track comes last.

        Raises:
            MidiFileError: the bytes that follow cannot be told apart into events.
        """
        waiting = ticks = 0
        while self._at < self._end:
            self._begin = self._at
            delta = self._variable_length("a delta time")
            if delta is None or self._at >= self._end:
                self._say("the track is cut off, it ends here")
                break
            waiting, ticks = waiting + delta, ticks + delta
            if ticks > MOST_TICKS:
                raise self._refuse(f"{ticks} ticks since the beginning of the track, expected at most {MOST_TICKS}")
            event = self._event()
            if event is None:
                break
            for piece in event:
                yield waiting, piece
                waiting = 0
        yield waiting, meta(END_OF_TRACK, b"")

    def _event(self) -> list[bytes] | None:
        """The next event, mended: a list of none, one or more events; None at the end of the track."""
        status = self._data[self._at]
        if status >= 0x80:
            self._at += 1
        else:
            status = self._running
            if not status:
                raise self._refuse(f"{self._data[self._at]:#04x} where a status byte is expected", self._at)
            if self._interrupted:
                self._say("running status after a system or meta event")
        self._interrupted = status >= SYSEX
        if status < SYSEX:
            self._running = status
            return self._channel_event(status)
        if status in (SYSEX, SYSEX_END):
            return self._sysex_event(status)
        return self._meta_event() if status == META else self._system_event(status)

    def _channel_event(self, status: int) -> list[bytes] | None:
        values = self._take(DATA_BYTES[status & 0xF0])
        if values is None:
            return None
        for k, value in enumerate(values):
            if value > 0x7F:
                self._say(f"data byte {value:#04x}, clipped to 0x7f", self._at - len(values) + k)
        return [bytes((status, *(min(value, 0x7F) for value in values)))]

    def _system_event(self, status: int) -> list[bytes] | None:
        if status not in SYSTEM_DATA_BYTES:
            raise self._refuse(f"status {status:#04x}, which no file may hold")
        self._say(f"status {status:#04x}, which no file may hold, left out")
        return [] if self._take(SYSTEM_DATA_BYTES[status]) is not None else None

    def _meta_event(self) -> list[bytes] | None:
        kind = self._take(1)
        value = self._take_counted() if kind is not None else None
        if kind is None or value is None:
            return None
        number = kind[0]
        if number == END_OF_TRACK:
            if self._at < self._end:
                self._say(f"{self._end - self._at} bytes behind the end of the track", self._at)
            return None
        lengths = META_LENGTHS.get(number, (len(value),))
        is_right, problem = META_VALUES.get(number, (lambda _: True, ""))
        if len(value) > MOST_BYTES:
            problem = f"a meta event of {len(value)} bytes, expected at most {MOST_BYTES}"
        elif number > 0x7F or len(value) not in lengths:
            problem = f"a meta event {number:#04x} of {len(value)} bytes, expected {' or '.join(map(str, lengths))}"
        elif is_right(value):
            return [meta(number, value)]
        self._say(f"{problem}, left out")
        return []

    def _sysex_event(self, status: int) -> list[bytes] | None:
        """A whole message, or a piece of one, or an escape, which holds messages of any kind."""
        value = self._take_counted()
        if value is None:
            return None
        if status == SYSEX_END and self._sysex is None:
            return _messages(value)
        if status == SYSEX and self._sysex is not None:
            self._say("the system exclusive message before has no end, left out")
        message = value if status == SYSEX else (self._sysex or b"") + value
        self._sysex = None if message.endswith(b"\xf7") else message
        if self._sysex is not None:
            return []
        if len(message) > MOST_BYTES or max(message[:-1], default=0) > 0x7F:
            self._say(f"a system exclusive message of {len(message)} bytes (at most {MOST_BYTES}) or with a byte over 0x7f, left out")
            return []
        return [bytes((SYSEX,)) + quantity(len(message)) + message]

    def _take(self, count: int) -> bytes | None:
        """The next bytes; None where the track ends before."""
        if self._at + count > self._end:
            self._say("an event that does not end within the track")
            return None
        self._at += count
        return self._data[self._at - count : self._at]

    def _take_counted(self) -> bytes | None:
        """The content of a meta or system exclusive event, behind its length; None where the track ends before."""
        size = self._variable_length("a length")
        return None if size is None else self._take(size)

    def _variable_length(self, what: str) -> int | None:
        """A variable-length quantity; None where the track ends before it does."""
        value = 0
        for _ in range(4):
            if self._at >= self._end:
                return None
            byte = self._data[self._at]
            self._at += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise self._refuse(f"{what} of more than 4 bytes")

    def _say(self, reason: str, byte: int | None = None) -> None:
        self._damages.append(Damage(self._track, self._begin if byte is None else byte, reason))

    def _refuse(self, reason: str, byte: int | None = None) -> MidiFileError:
        return MidiFileError(str(Damage(self._track, self._begin if byte is None else byte, reason)))


def _messages(data: bytes) -> list[bytes]:
    """The channel messages among bytes as a MIDI cable carries them; no other messages may stand in a track."""
    tokenizer = Tokenizer(data)
    return [bytes(message) for message in tokenizer if 0x80 <= message[0] < SYSEX]


def meta(kind: int, value: bytes) -> bytes:
    """A meta event."""
    return bytes((META, kind)) + quantity(len(value)) + value


def quantity(value: int) -> bytes:
    """A variable-length quantity."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.insert(0, value & 0x7F | 0x80)
    return bytes(out)
