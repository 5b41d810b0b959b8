"""The control server: one thread that owns a ROUTER for requests and a PUB for telemetry."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq

from specdiffd.config import ControlConfig, runtime_directory
from specdiffd.control.protocol import MAX_MESSAGE_BYTES, Arguments, Reply, encode, parse
from specdiffd.errors import ConfigError, ControlError, DeviceError

log = logging.getLogger(__name__)
QUEUE = 256  # telemetry messages waiting; the oldest are dropped
HIGH_WATER = 1000
LOOPBACK = ("tcp://127.0.0.1:", "tcp://localhost:", "tcp://[::1]:")

Handler = Callable[[Arguments], Any]


def endpoints(config: ControlConfig) -> tuple[str, str]:
    """Addresses of requests and telemetry, ``auto`` resolved.

    Raises:
        ConfigError: TCP beyond loopback (it would let anybody play).
    """
    folder = runtime_directory()
    chosen = [
        f"ipc://{folder}/{name}.sock" if value == "auto" else value
        for name, value in (("control", config.endpoint), ("telemetry", config.publish))
    ]
    for key, value in zip(("endpoint", "publish"), chosen, strict=True):
        if value.startswith("tcp://") and not value.startswith(LOOPBACK):
            raise ConfigError(f"control.{key} {value}: TCP is only allowed on loopback (tcp://127.0.0.1:PORT)")
        if not value.startswith(("tcp://", "ipc://", "inproc://")):
            raise ConfigError(f"control.{key} {value!r}: expected auto, ipc://PATH or tcp://127.0.0.1:PORT")
    return chosen[0], chosen[1]


class ControlServer:
    """Answers requests with ``handler`` and publishes telemetry. Start it, ``publish`` from anywhere, stop it.

    Raises:
        ConfigError: an endpoint is not allowed.
        DeviceError: an endpoint cannot be bound, for example because another daemon runs there.
    """

    def __init__(self, config: ControlConfig, handler: Handler) -> None:
        self.endpoint, self.publish_endpoint = endpoints(config)
        self._handler = handler
        self._telemetry: queue.Queue[tuple[str, Any]] = queue.Queue(QUEUE)
        self._stop = threading.Event()
        self._context = zmq.Context()
        try:
            self._router = self._bind(zmq.ROUTER, self.endpoint)
            self._pub = self._bind(zmq.PUB, self.publish_endpoint)
        except DeviceError:
            self._context.destroy(linger=0)
            raise
        self._wakes, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self.dropped = 0
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and remove the sockets."""
        self._stop.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        for bound in (self._router, self._pub):
            bound.close(linger=0)
        self._context.term()
        self._wakes.close()
        self._waker.close()
        for endpoint in (self.endpoint, self.publish_endpoint):
            if endpoint.startswith("ipc://"):
                Path(endpoint[6:]).unlink(missing_ok=True)

    def publish(self, topic: str, value: Any) -> None:
        """Queue telemetry; the oldest is dropped when nobody fetches it."""
        while True:
            try:
                self._telemetry.put_nowait((topic, value))
                self._wake()
                return
            except queue.Full:
                try:
                    self._telemetry.get_nowait()
                    self.dropped += 1
                except queue.Empty:
                    continue

    def _wake(self) -> None:
        """There is something to do for the thread."""
        with contextlib.suppress(OSError):  # it has been told often enough, or has ended
            self._waker.send(b"!")

    def _bind(self, kind: int, endpoint: str) -> Any:
        bound = self._context.socket(kind)
        bound.linger = 0
        bound.sndhwm = bound.rcvhwm = HIGH_WATER
        bound.maxmsgsize = MAX_MESSAGE_BYTES
        try:
            if endpoint.startswith("ipc://"):
                _prepare(Path(endpoint[6:]))
            bound.bind(endpoint)
            if endpoint.startswith("ipc://"):
                os.chmod(endpoint[6:], stat.S_IRUSR | stat.S_IWUSR)
        except (zmq.ZMQError, OSError) as error:
            raise DeviceError(f"control endpoint {endpoint}: {error}") from error
        return bound

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wakes, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                ready = dict(poller.poll())
                if self._wakes.fileno() in ready:
                    self._wakes.recv(QUEUE)
                if self._router in ready:
                    self._serve_one()
                while not self._telemetry.empty():
                    topic, value = self._telemetry.get_nowait()
                    self._pub.send_multipart([topic.encode(), msgspec.json.encode(value)], zmq.NOBLOCK)
        except BaseException as error:
            self.error = error
            log.exception("control plane died")

    def _serve_one(self) -> None:
        peer, *frames = self._router.recv_multipart(zmq.NOBLOCK)
        reply = self._answer(frames[-1] if frames else b"")
        try:
            self._router.send_multipart([peer, *frames[:-1], encode(reply)], zmq.NOBLOCK)
        except zmq.ZMQError:
            log.debug("a client went away before its reply")

    def _answer(self, message: bytes) -> Reply:
        try:
            request_id, arguments = parse(message)
        except ControlError as error:
            return Reply(error.request_id, False, error={"code": error.code, "message": str(error)})
        try:
            return Reply(request_id, True, result=self._handler(arguments))
        except ControlError as error:
            return Reply(request_id, False, error={"code": error.code, "message": str(error)})
        except Exception as error:
            log.exception("request failed")
            return Reply(request_id, False, error={"code": "internal", "message": f"{type(error).__name__}: {error}"})


def _prepare(path: Path) -> None:
    """A private directory, and no socket left over by a dead daemon."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise OSError("another specdiffd is running here (specdiffd ctl shutdown ends it)")
