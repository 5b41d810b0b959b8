"""A client of the control plane."""

from __future__ import annotations

import itertools
import os
import time
from types import TracebackType
from typing import Any

import msgspec
import zmq

from specdiffd.base.errors import ControlError
from specdiffd.base.text import told
from specdiffd.control.address import Address
from specdiffd.control.folder import check_private, check_server
from specdiffd.control.protocol import VERSION

POLL_S = 0.05  # between two looks for the socket of a daemon that is starting; its folder may be missing, so it cannot be watched


class Complaint(msgspec.Struct):
    """Why a request was refused."""

    code: str
    message: str


class Answer(msgspec.Struct):
    """A reply, as far as a client needs it."""

    ok: bool
    id: str | int | None = None
    result: Any = None
    error: Complaint | None = None


class ControlClient:
    """Sends requests one at a time. A context manager.

    Args:
        endpoint: of the server.
        timeout_s: how long to wait for a reply.

    Raises:
        ControlError: there is no such kind of endpoint (code ``bad_endpoint``).
    """

    def __init__(self, endpoint: str, timeout_s: float = 5.0) -> None:
        self.endpoint, self._timeout_s = endpoint, timeout_s
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._ids = itertools.count(1)
        try:
            self._socket.connect(endpoint)
        except (zmq.ZMQError, ValueError) as error:
            self._socket.close(linger=0)
            self._context.term()
            raise ControlError("bad_endpoint", f"no daemon can be asked at {endpoint!r}: {told(error)}") from error

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close(linger=0)
        self._context.term()

    def call(self, command: str, **args: Any) -> Any:
        """Send a request; returns its result.

        Raises:
            ControlError: the daemon refused it (with its code), did not answer in time (``no_answer``), its answer is none of the
                protocol (``bad_reply``), or the arguments are no JSON (``bad_arguments``).
        """
        number = next(self._ids)
        try:
            message = msgspec.json.encode({"v": VERSION, "id": number, "cmd": command, "args": args})
        except Exception as error:
            raise ControlError("bad_arguments", f"{command}: {told(error)}") from error
        return self._ask(message, number)

    def reply_to(self, message: bytes) -> Any:
        """Send a raw message; returns the result of whatever reply comes.

        Raises:
            ControlError: the daemon refused it (with its code), did not answer in time (``no_answer``), or its answer is none of the
                protocol (``bad_reply``).
        """
        return self._ask(message, None)

    def _ask(self, message: bytes, number: int | None) -> Any:
        ends_s = time.monotonic() + self._timeout_s
        try:
            self._socket.send(message, zmq.NOBLOCK)
            answer = self._receive(ends_s)
            while answer.id not in (None, number) and number is not None:  # the reply to an earlier request that timed out
                answer = self._receive(ends_s)
        except zmq.Again:  # no reply, or no room to queue a request that nobody takes
            raise ControlError("no_answer", f"no daemon answers at {self.endpoint}; is specdiffd running?") from None
        if answer.error is not None:
            raise ControlError(answer.error.code, answer.error.message)
        return answer.result

    def _receive(self, ends_s: float) -> Answer:
        """The next reply.

        Raises:
            zmq.Again: none has come by ``ends_s``.
            ControlError: it is none of the protocol (``bad_reply``).
        """
        if not self._socket.poll(max(0, round((ends_s - time.monotonic()) * 1000))):
            raise zmq.Again
        try:
            answer = msgspec.json.decode(self._socket.recv_multipart()[-1], type=Answer)
        except Exception as error:  # msgspec raises more than it documents: UnicodeDecodeError, RecursionError
            raise ControlError("bad_reply", f"what answers at {self.endpoint} is no daemon: {told(error)}") from error
        if answer.ok == (answer.error is not None):
            raise ControlError("bad_reply", f"what answers at {self.endpoint} is no daemon: an error, or none, expected the other")
        return answer


def await_server(address: Address, private: bool, timeout_s: float) -> None:
    """Wait until there is a socket at an address, and check who owns it.

    Args:
        private: its folder must be accessible to this user alone.

    Raises:
        ConfigError: somebody else owns the socket or can write its folder.
        ControlError: there is no socket in time (code ``no_answer``).
    """
    if address.path is None:
        return
    ends_s = time.monotonic() + timeout_s
    while not os.path.lexists(address.path) and time.monotonic() < ends_s:
        time.sleep(POLL_S)
    if private:
        check_private(address.path.parent)
    check_server(address.path)
    if not os.path.lexists(address.path):
        raise ControlError("no_answer", f"no daemon answers at {address.text}; is specdiffd running?")
