"""One sender of MIDI: its bytes as whole messages, and what it leaves sounding when it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from mido.tokenizer import Tokenizer

from specdiffd.base.messages import ACTIVE_SENSING, CONTROL, NOTE_OFF, NOTE_ON, SYSTEM_RESET
from specdiffd.midi.messages import channel_message

SENSED_FOR_NS = 330_000_000  # after active sensing the next byte comes within this, or the cable is out (MIDI 1.0)
PEDALS = (64, 66)  # sustain and sostenuto: what they hold is let go with the keys


class Message(NamedTuple):
    """A stamped message, three bytes at most."""

    time_ns: int
    status: int
    data1: int
    data2: int


Receiver = Callable[[Message], object]


class Source:
    """Bytes in, messages out to the receiver. Threads may share it.

    A status byte ends a system exclusive message, whether that has an end or not; one that comes in several pieces is whole.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver, self._lock = receiver, threading.Lock()
        self._tokens = Tokenizer()
        self._keys: set[tuple[int, int]] = set()  # (channel, key) that are down
        self._pedals: set[tuple[int, int]] = set()  # (channel, controller)
        self._sensed_ns: int | None = None  # the last byte of a sender that says when it is there

    @property
    def senses(self) -> bool:
        """Whether ``check`` must be called often."""
        return self._sensed_ns is not None

    def feed(self, data: bytes, time_ns: int) -> None:
        """Bytes that came at ``time_ns`` of the monotonic clock."""
        with self._lock:
            if self._sensed_ns is not None:
                self._sensed_ns = time_ns
            self._tokens.feed(data)
            for token in self._tokens:
                if token[0] == ACTIVE_SENSING:
                    self._sensed_ns = time_ns
                elif (found := channel_message(token)) is not None:
                    self._follow(*found)
                    self._receiver(Message(time_ns, *found))

    def check(self, now_ns: int) -> None:
        """A sender that has said it is there, and says so no more, is gone."""
        if self._sensed_ns is not None and now_ns - self._sensed_ns > SENSED_FOR_NS:
            self.release()

    def release(self) -> None:
        """The sender is gone: its keys and pedals are let go."""
        now_ns = time.monotonic_ns()
        with self._lock:
            for channel, key in sorted(self._keys):
                self._receiver(Message(now_ns, NOTE_OFF | channel, key, 0))
            for channel, controller in sorted(self._pedals):
                self._receiver(Message(now_ns, CONTROL | channel, controller, 0))
            self._keys.clear()
            self._pedals.clear()
            self._tokens, self._sensed_ns = Tokenizer(), None

    def _follow(self, status: int, data1: int, data2: int) -> None:
        kind, channel = status & 0xF0, status & 0x0F
        if status == SYSTEM_RESET:
            self._keys.clear()
            self._pedals.clear()
        elif kind == NOTE_ON and data2 > 0:
            self._keys.add((channel, data1))
        elif kind in (NOTE_ON, NOTE_OFF):
            self._keys.discard((channel, data1))
        elif kind == CONTROL and data1 in PEDALS:
            (self._pedals.add if data2 >= 64 else self._pedals.discard)((channel, data1))
