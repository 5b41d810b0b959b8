"""The control server: one thread that owns a ROUTER socket for requests and a PUB socket for telemetry."""

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
HIGH_WATER = 1000  # messages queued for a client that does not read; it misses the rest
MAX_PARTS = 16  # of a message: each proxy on its way adds one
SHARE = 64  # requests that are answered before telemetry has its turn, and the other way round
PAUSE_S = 0.05  # after an error of the loop; without a pause, a lasting error would take a whole core
STOP_S = 5.0  # for the present request to be finished

Handler = Callable[[Arguments], Any]


class ControlServer:
    """Answers requests with ``handler`` and publishes telemetry. ``publish`` may be called from any thread.

    Attributes:
        dropped: telemetry messages that were published faster than they could be sent.
        errors: of the handler, of its results, of telemetry's values and of the server itself. None of them stops the server.

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
        """Queue a telemetry message. If the queue is full, the oldest one is dropped."""
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
        """A ZMQ socket on a listener that was bound before: ZMQ itself would remove any file of that name when it binds."""
        listener = stack.enter_context(contextlib.closing(Listener(address)))
        bound: Any = self._context.socket(kind)
        bound.linger = 0
        bound.sndhwm = bound.rcvhwm = HIGH_WATER
        bound.maxmsgsize = MAX_PARTS * MAX_MESSAGE_BYTES  # of a part; a larger one closes the connection, a smaller one gets an answer
        bound.use_fd = os.dup(listener.socket.fileno())  # a copy, since ZMQ closes it
        try:
            bound.bind(address.text)
        except zmq.ZMQError as error:
            bound.close(linger=0)
            raise DeviceError(f"{address.key} {address.text!r}: {error}") from error
        return bound

    def _wake(self) -> None:
        """Tell the thread that there is something to do."""
        with contextlib.suppress(OSError):  # the pipe is full, so it will wake anyway, or the thread has ended
            self._waker.send(b"!")

    def _run(self) -> None:
        """Serve until ``stop``, whatever errors happen: without this thread nobody could control or stop the daemon."""
        while not self._stop.is_set():
            try:
                self._turn()
            except BaseException as error:
                self._count("an error in the control plane", error)
                self._stop.wait(PAUSE_S)

    def _turn(self) -> None:
        """Wait for requests or telemetry, and handle up to ``SHARE`` of each."""
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
        """Answer a request; returns False if there was none."""
        try:
            peer = self._router.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        envelope, body, size = self._rest()
        reply = self._answer(body, size)
        with contextlib.suppress(zmq.ZMQError):  # the client went away before its reply
            self._router.send_multipart([peer, *envelope, encode(reply)], zmq.NOBLOCK)
        if body is None:
            give_back_memory()
        return True

    def _rest(self) -> tuple[list[bytes], bytes | None, int]:
        """The parts of a message behind the peer's: the envelope, the body, and their size together.

        If the message is too large, the body is None, and the envelope is what a REQ socket needs for its reply.
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
        except BaseException as error:  # whatever a handler raises, neither this thread nor the daemon may end
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
    """Return the memory of a large message to the system: libzmq holds all parts until the last one has come, and the allocator keeps them."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # in the GNU C library only
    if trim is not None:
        trim(0)
