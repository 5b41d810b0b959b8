"""A bounded event queue in shared memory (one producer, one consumer, overflow counted), and the bell that goes with it."""

from __future__ import annotations

import ctypes
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from specdiffd.io.words import words

RECORD = np.dtype([("time_ns", np.int64), ("status", np.uint8), ("data1", np.uint8), ("data2", np.uint8), ("pad", np.uint8, 5)])
CAPACITY = 4096


@words
class Header(ctypes.Structure):
    """Counts of messages, and whether the bell has been rung."""

    head: int
    tail: int
    dropped: int
    rung: int


class EventRing:
    """Stamped MIDI messages. When it is full the newest message is dropped and counted: what is queued keeps its order."""

    def __init__(self, buffer: Any = None, capacity: int = CAPACITY) -> None:
        buffer = bytearray(self.size(capacity)) if buffer is None else buffer
        self._capacity = capacity
        self._header = Header.from_buffer(buffer)
        self._records: Any = np.frombuffer(buffer, RECORD, capacity, ctypes.sizeof(Header))

    @staticmethod
    def size(capacity: int = CAPACITY) -> int:
        """Bytes needed."""
        return ctypes.sizeof(Header) + capacity * RECORD.itemsize

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
            self._header.dropped += 1
            return False
        self._records[head % self._capacity] = (time_ns, status, data1, data2, 0)
        self._header.head = head + 1
        return True

    def must_ring(self) -> bool:
        """Producer: whether the consumer must be woken; it then counts as woken."""
        if self._header.rung:
            return False
        self._header.rung = 1
        return True

    def answer(self) -> None:
        """Consumer: woken, about to take."""
        self._header.rung = 0

    def take(self) -> list[tuple[int, int, int, int]]:
        """Everything that is waiting: (time_ns, status, data1, data2), in order."""
        tail, head = self._header.tail, self._header.head
        if tail == head:
            return []
        taken = [tuple(self._records[i % self._capacity].tolist()[:4]) for i in range(tail, head)]
        self._header.tail = head
        return taken


class BelledRing:
    """The producer's side: queue a message and wake the consumer through a pipe.

    Never blocks: the bell is only rung again after the consumer has answered (``EventRing.answer``).
    """

    def __init__(self, ring: EventRing, bell: Connection) -> None:
        self._ring, self._bell = ring, bell

    def put(self, time_ns: int, status: int, data1: int = 0, data2: int = 0) -> bool:
        """Append and wake; False if the queue was full."""
        there = self._ring.put(time_ns, status, data1, data2)
        if self._ring.must_ring():
            self._bell.send_bytes(b"!")
        return there
