"""The control server: one thread that owns a ROUTER for requests and a PUB for telemetry."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from specdiffd.base.config import ControlConfig
from specdiffd.base.errors import ControlError, DeviceError
from specdiffd.base.logs import Seldom
from specdiffd.base.text import told
from specdiffd.control.address import Address, endpoints
from specdiffd.control.listener import Listener
from specdiffd.control.protocol import MAX_MESSAGE_BYTES, Arguments, Reply, encode, parse, refusal, too_long

log = logging.getLogger(__name__)
QUEUE = 256  # telemetry messages waiting; the oldest are dropped
HIGH_WATER = 1000  # messages for a client that does not read; then it misses some
MAX_PARTS = 16  # of a message: envelopes of proxies have one part for each
SHARE = 64  # requests answered before telemetry has its turn, and the other way round
PAUSE_S = 0.05  # after an error of the loop: one that comes back at once would take a whole core
STOP_S = 5.0  # for the request at hand to be done

Handler = Callable[[Arguments], Any]


class ControlServer:
    """Answers requests with ``handler`` and publishes telemetry. Start it, ``publish`` from anywhere, stop it.

    Attributes:
        dropped: telemetry that was published faster than it could be sent.
        errors: of the handler, of its results, of telemetry's values and of the server itself; each is survived.

    Raises:
        ConfigError: an endpoint is not allowed.
        DeviceError: an endpoint cannot be bound, for example because another daemon runs there.
    """

    def __init__(self, config: ControlConfig, handler: Handler) -> None:
        requests, telemetry = endpoints(config)
        self.endpoint, self.publish_endpoint = requests.text, telemetry.text
        self._handler = handler
        self._telemetry: queue.Queue[tuple[str, Any]] = queue.Queue(QUEUE)
        self._stop = threading.Event()
        self._complain = Seldom(log)
        self.dropped = self.errors = 0
        with contextlib.ExitStack() as stack:
            self._wakes, self._waker = (stack.enter_context(end) for end in socket.socketpair())
            self._waker.setblocking(False)
            self._context = stack.enter_context(zmq.Context())
            self._router = stack.enter_context(self._bound(zmq.ROUTER, requests, stack))
            self._pub = stack.enter_context(self._bound(zmq.PUB, telemetry, stack))
            self._closing = stack.pop_all()
        self._poller = zmq.Poller()
        self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._wakes, zmq.POLLIN)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and remove the sockets."""
        self._stop.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        self._closing.close()

    def publish(self, topic: str, value: Any) -> None:
        """Queue telemetry; the oldest is dropped when nobody fetches it."""
        while True:
            try:
                self._telemetry.put_nowait((topic, value))
                self._wake()
                return
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._telemetry.get_nowait()
                    self.dropped += 1

    def _bound(self, kind: int, address: Address, stack: contextlib.ExitStack) -> Any:
        """A socket at an address that was bound for it: its own way to bind removes whatever file has the name."""
        listener = stack.enter_context(contextlib.closing(Listener(address)))
        bound: Any = self._context.socket(kind)
        bound.linger = 0
        bound.sndhwm = bound.rcvhwm = HIGH_WATER
        bound.maxmsgsize = MAX_PARTS * MAX_MESSAGE_BYTES  # of a part: beyond it the connection is closed, up to it there is an answer
        bound.use_fd = os.dup(listener.socket.fileno())  # the copy is closed with it
        try:
            bound.bind(address.text)
        except zmq.ZMQError as error:
            bound.close(linger=0)
            raise DeviceError(f"{address.key} {address.text!r}: {error}") from error
        return bound

    def _wake(self) -> None:
        """There is something to do for the thread."""
        with contextlib.suppress(OSError):  # it has been told often enough, or has ended
            self._waker.send(b"!")

    def _run(self) -> None:
        """Serve until ``stop``, whatever happens: without this thread nobody could play, ask or stop the daemon any more."""
        while not self._stop.is_set():
            try:
                self._turn()
            except BaseException as error:
                self._count("an error in the control plane", error)
                self._stop.wait(PAUSE_S)

    def _turn(self) -> None:
        """Wait for something, and do a share of what there is to do."""
        more = self._router.events & zmq.POLLIN or not self._telemetry.empty()
        ready = dict(self._poller.poll(0 if more else None))
        if self._wakes.fileno() in ready:
            self._wakes.recv(QUEUE)
        for _ in range(SHARE):
            if not self._serve_one():
                break
        for _ in range(SHARE):
            try:
                self._send_telemetry(*self._telemetry.get_nowait())
            except queue.Empty:
                break

    def _serve_one(self) -> bool:
        """Answer a request; False: there was none."""
        try:
            peer = self._router.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        envelope, body, size = self._rest()
        reply = self._answer(body, size)
        with contextlib.suppress(zmq.ZMQError):  # it went away before its reply
            self._router.send_multipart([peer, *envelope, encode(reply)], zmq.NOBLOCK)
        if body is None:
            give_back_memory()
        return True

    def _rest(self) -> tuple[list[bytes], bytes | None, int]:
        """The other parts of a message: those before the last, the last, and their size together.

        Of one that is too large the last is None, and what a REQ socket needs back is all that is kept of the others.
        """
        parts: list[bytes] = []
        count = size = 0
        while self._router.getsockopt(zmq.RCVMORE):
            part = self._router.recv(zmq.NOBLOCK)
            count, size = count + 1, size + len(part)
            if count <= MAX_PARTS and size <= MAX_MESSAGE_BYTES:
                parts.append(part)
        if count == len(parts):
            return parts[:-1], parts[-1] if parts else b"", size
        return parts[: parts.index(b"") + 1] if b"" in parts else [], None, size

    def _answer(self, body: bytes | None, size: int) -> Reply:
        try:
            if body is None:
                raise too_long(size)
            request_id, arguments = parse(body)
        except ControlError as error:
            return refusal(error.request_id, error.code, told(error))
        try:
            return Reply(request_id, True, result=self._handler(arguments))
        except ControlError as error:
            return refusal(request_id, error.code, told(error))
        except BaseException as error:  # a request may end neither this thread nor the daemon, by whatever a handler raises
            self._count("a request failed", error)
            return refusal(request_id, "internal", f"{type(error).__name__}: {told(error)}")

    def _send_telemetry(self, topic: str, value: Any) -> None:
        try:
            data = msgspec.json.encode(value)
        except Exception as error:
            self._count(f"telemetry {topic} is no JSON", error)
            return
        self._pub.send_multipart([topic.encode(), data], zmq.NOBLOCK)

    def _count(self, text: str, error: BaseException) -> None:
        self.errors += 1
        self._complain.error(text, error)


def give_back_memory() -> None:
    """What a large message took is the system's again: libzmq holds all parts until the last one has come, and the allocator keeps them."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library
    if trim is not None:
        trim(0)
