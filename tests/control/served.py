"""A control server in a process of its own, whose memory can be measured, and clients that bypass libzmq."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from specdiffd.base.config import ControlConfig
from specdiffd.control.protocol import Arguments, Status
from specdiffd.control.server import ControlServer

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 1 + 31)
READY = {kind: b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind for kind in (b"DEALER", b"REQ", b"SUB", b"ROUTER")}


def answer(arguments: Arguments) -> Any:
    """The handler: every request gets a status as long as a daemon's."""
    return {"filler": "x" * 3000} if isinstance(arguments, Status) else {}


def serve(folder: str, pipe: Connection) -> None:
    """Main function of the process: publishes what comes through the pipe, until that is None; then sends the counters."""
    server = ControlServer(ControlConfig(endpoint=f"ipc://{folder}/c.sock", publish=f"ipc://{folder}/t.sock"), answer)
    server.start()
    pipe.send("serves")
    while (value := pipe.recv()) is not None:
        server.publish("status", value)
    pipe.send({"errors": server.errors, "dropped": server.dropped})
    server.stop()


@dataclass
class Served:
    """A running server.

    Attributes:
        counters: of the server, once it has ended.
        expected: the least that a test expects of them.
    """

    folder: Path
    pid: int
    publish: Callable[[Any], None]
    counters: dict[str, int] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return f"ipc://{self.folder}/c.sock"

    @property
    def telemetry(self) -> str:
        return f"ipc://{self.folder}/t.sock"

    @property
    def memory_mb(self) -> float:
        """Resident memory now."""
        return self._status_mb("VmRSS")

    @property
    def peak_mb(self) -> float:
        """The largest resident memory since ``forget_peak``."""
        return self._status_mb("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status_mb(self, field: str) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1e3

    @property
    def files(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def busy_s(self) -> float:
        """Processor time of the process so far."""
        return sum(map(int, Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / 100


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """A context with a running server."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(str(folder), theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(30), "the server did not start"
        ours.recv()
        assert process.pid is not None
        found = Served(folder, process.pid, ours.send)
        yield found
        ours.send(None)
        assert ours.poll(10), "the server does not answer its own process any more"
        found.counters |= ours.recv()
        process.join(10)
        assert process.exitcode == 0
    finally:
        process.kill()


def frame(body: bytes, flags: int = 0) -> bytes:
    """A ZMTP frame; the flags are 1 more, 2 long, 4 command."""
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | 2,)) + len(body).to_bytes(8, "big") + body


def connected(path: Path, timeout_s: float = 5.0) -> socket.socket:
    """A bare connection to a socket file; waits while the queue of connections to be accepted is full."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = socket.socket(socket.AF_UNIX)
        try:
            found.connect(str(path))
        except BlockingIOError:
            found.close()
            assert time.monotonic() < deadline_s
            continue
        found.settimeout(timeout_s)
        return found


def greeted(path: Path, kind: bytes = b"DEALER") -> socket.socket:
    """A connection behind its handshake, on which the test controls every byte."""
    found = connected(path)
    found.sendall(GREETING)
    received(found, 64)
    found.sendall(frame(READY[kind], 4))
    head = received(found, 2)
    assert head[0] == 4
    assert received(found, head[1]).startswith(b"\x05READY")
    return found


def received(source: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes from a socket."""
    found = b""
    while len(found) < size:
        some = source.recv(size - len(found))
        assert some, "the connection was closed"
        found += some
    return found
