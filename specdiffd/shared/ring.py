"""A bounded event queue in shared memory (one producer, one consumer), and the bell that goes with it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Hashable
from multiprocessing.connection import Connection
from typing import Any

from specdiffd.base.messages import BEND, NOTE_OFF, NOTE_ON, PRESSURE, PROGRAM
from specdiffd.shared.words import words

CAPACITY = 4096

Entry = tuple[int, int, int, int]  # time_ns, status, data1, data2


class Record(ctypes.Structure):
    """A stamped message of the queue: 16 bytes."""

    _fields_ = (("time_ns", ctypes.c_int64), ("status", ctypes.c_uint8), ("data1", ctypes.c_uint8), ("data2", ctypes.c_uint8))

    @property
    def entry(self) -> Entry:
        """As numbers."""
        return self.time_ns, self.status, self.data1, self.data2


@words
class Header(ctypes.Structure):
    """Counts of messages, and whether the bell has been rung."""

    head: int
    tail: int
    dropped: int
    rung: int


class EventRing:
    """Stamped MIDI messages. When it is full the newest message is refused: what is queued keeps its order."""

    def __init__(self, buffer: Any = None, capacity: int = CAPACITY) -> None:
        buffer = bytearray(self.size(capacity)) if buffer is None else buffer
        self._capacity = capacity
        self._header = Header.from_buffer(buffer)
        self._records: Any = (Record * capacity).from_buffer(buffer, ctypes.sizeof(Header))

    @staticmethod
    def size(capacity: int = CAPACITY) -> int:
        """Bytes needed."""
        return ctypes.sizeof(Header) + capacity * ctypes.sizeof(Record)

    @property
    def dropped(self) -> int:
        """Messages lost to a full queue."""
        return self._header.dropped

    @property
    def tail(self) -> int:
        """How many messages have been taken."""
        return self._header.tail

    def go_back(self, tail: int) -> None:
        """Consumer: take again what came after the first ``tail`` messages, as far as it is still there."""
        head = self._header.head
        self._header.tail = max(tail, head - self._capacity)

    def __len__(self) -> int:
        return self._header.head - self._header.tail

    def put(self, time_ns: int, status: int, data1: int = 0, data2: int = 0) -> bool:
        """Append; False if the queue was full."""
        head = self._header.head
        if head - self._header.tail >= self._capacity:
            return False
        record = self._records[head % self._capacity]
        record.time_ns, record.status, record.data1, record.data2 = time_ns, status, data1, data2
        self._header.head = head + 1
        return True

    def drop(self) -> None:
        """Producer: count a message that is lost."""
        self._header.dropped += 1

    def must_ring(self) -> bool:
        """Producer: whether the consumer must be woken; it then counts as woken."""
        if self._header.rung:
            return False
        self._header.rung = 1
        return True

    def answer(self) -> None:
        """Consumer: woken, about to take."""
        self._header.rung = 0

    def take(self) -> list[Entry]:
        """Everything that is waiting, in order."""
        tail, head = self._header.tail, self._header.head
        if tail == head:
            return []
        taken: list[Entry] = [self._records[at % self._capacity].entry for at in range(tail, head)]
        self._header.tail = head
        return taken


class BelledRing:
    """The producer's side: queue a message and wake the consumer through a pipe. Threads may share it.

    Never blocks: the bell is only rung again after the consumer has answered (``EventRing.answer``).

    Where the queue is full, new notes are dropped and counted. All else is kept here until there is room, of each kind the
    last message (for a controller its last value), so that no note-off is lost and the consumer learns of the last state.
    """

    def __init__(self, ring: EventRing, bell: Connection) -> None:
        self._ring, self._bell, self._lock = ring, bell, threading.Lock()
        self._kept: dict[Hashable, Entry] = {}

    def put(self, time_ns: int, status: int, data1: int = 0, data2: int = 0) -> bool:
        """Append and wake; False if it was a note for which there was no room."""
        with self._lock:
            there = self._append((time_ns, status, data1, data2))
            if self._ring.must_ring():
                self._bell.send_bytes(b"!")
            return there

    def ring(self) -> None:
        """Wake the consumer for something else."""
        with self._lock:
            if self._ring.must_ring():
                self._bell.send_bytes(b"!")

    def flush(self) -> None:
        """Append what there was no room for; call it now and then."""
        with self._lock:
            if self._kept and self._put_kept() and self._ring.must_ring():
                self._bell.send_bytes(b"!")

    def _append(self, entry: Entry) -> bool:
        if self._put_kept() and self._ring.put(*entry):
            return True
        place = _place(entry)
        if place is None:
            self._ring.drop()
            return False
        self._kept.pop(place, None)  # the last one keeps its place in time
        self._kept[place] = entry
        return True

    def _put_kept(self) -> bool:
        """Whether nothing is kept any more."""
        for place, entry in list(self._kept.items()):
            if not self._ring.put(*entry):
                return False
            del self._kept[place]
        return True


def _place(entry: Entry) -> Hashable:
    """What a message is the state of; None for a new note, which is no state."""
    _, status, data1, data2 = entry
    kind = status & 0xF0
    if kind == NOTE_ON and data2 > 0:
        return None
    if kind in (NOTE_ON, NOTE_OFF):
        return NOTE_OFF | status & 0x0F, data1
    return (status,) if kind in (PROGRAM, PRESSURE, BEND) else (status, data1)
