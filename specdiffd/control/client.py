"""A client of the control plane."""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import Any

import msgspec
import zmq

from specdiffd.control.protocol import VERSION
from specdiffd.errors import ControlError


class ControlClient:
    """Sends requests one at a time. A context manager.

    Args:
        endpoint: as the server's.
        timeout_s: how long to wait for a reply.
    """

    def __init__(self, endpoint: str, timeout_s: float = 5.0) -> None:
        self.endpoint, self._timeout_s = endpoint, timeout_s
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(endpoint)
        self._ids = itertools.count(1)

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close(linger=0)
        self._context.term()

    def call(self, command: str, **args: Any) -> Any:
        """A request's result.

        Raises:
            ControlError: the daemon refused it, or did not answer in time (code ``no_answer``).
        """
        number = next(self._ids)
        return self.reply_to(msgspec.json.encode({"v": VERSION, "id": number, "cmd": command, "args": args}))

    def reply_to(self, message: bytes) -> Any:
        """The result of a raw message.

        Raises:
            ControlError: as :meth:`call`.
        """
        self._socket.send(message)
        if not self._socket.poll(round(self._timeout_s * 1000)):
            raise ControlError("no_answer", f"no daemon answers at {self.endpoint}; is specdiffd running?")
        reply = msgspec.json.decode(self._socket.recv())
        if not reply["ok"]:
            raise ControlError(reply["error"]["code"], reply["error"]["message"])
        return reply.get("result")
