"""The server answers each of many damaged frames, does not grow, and still answers pings promptly.

``make fuzz`` sends a million; FUZZ_FRAMES and FUZZ_SEED choose others.
"""

import itertools
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import msgspec
import pytest
import zmq
from mutants import frames, streams
from served import Served, connected, served

from specdiffd.base.errors import ControlError
from specdiffd.control.client import ControlClient
from specdiffd.control.protocol import Shutdown, parse

BATCH = 500
FLAT_MB = 4.0
PROMPT_S = 0.05
CODES = {"malformed", "bad_arguments", "unknown_command", "version", "too_long"}


@dataclass
class Figures:
    """The results.

    Attributes:
        replies: by code of the error, or "ok".
        pings_s: how long a ping took, one after each batch.
        memory_mb: of the server, after each batch.
    """

    replies: Counter[str] = field(default_factory=Counter)
    pings_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """Growth of the memory after the first tenth of the batches."""
        early = max(1, len(self.memory_mb) // 10)
        return max(self.memory_mb[early:]) - max(self.memory_mb[:early])

    def __str__(self) -> str:
        pings_ms = sorted(1e3 * s for s in self.pings_s)
        late = pings_ms[round(0.99 * (len(pings_ms) - 1))]
        return (
            f"{len(pings_ms)} batches of {BATCH}, {dict(self.replies) or 'not counted'}; ping: median {median(pings_ms):.2f} ms, 99 % {late:.2f}, worst {pings_ms[-1]:.2f}; "
            f"memory {self.memory_mb[0]:.1f} MB at first, {self.memory_mb[-1]:.1f} at last, grown by {self.growth_mb:.1f} after the first tenth"
        )


@contextmanager
def watched(server: Served, figures: Figures) -> Iterator[ControlClient]:
    """A context with a client whose pings are measured; the figures are printed at its end."""
    with ControlClient(server.endpoint, timeout_s=10) as client:
        yield client
    print(figures, file=sys.stderr)  # noqa: T201


def look(server: Served, client: ControlClient, figures: Figures) -> None:
    started_s = time.monotonic()
    assert client.call("ping") == {}
    figures.pings_s.append(time.monotonic() - started_s)
    figures.memory_mb.append(server.memory_mb)


class Sender:
    """Sends messages, each of which must be answered once."""

    def __init__(self, dealer: zmq.Socket[bytes], said: Counter[str]) -> None:
        self._dealer, self._said, self._due = dealer, said, 0

    def send(self, batch: Iterable[list[bytes]]) -> None:
        """Send all messages, and receive all replies."""
        for parts in batch:
            while True:
                try:
                    self._dealer.send_multipart(parts, zmq.NOBLOCK)
                    break
                except zmq.Again:
                    self._take()
            self._due += 1
        while self._due:
            self._take()
        assert not self._dealer.poll(0), "a reply to nothing"

    def _take(self) -> None:
        assert self._dealer.poll(10_000), "it does not answer any more"
        reply = msgspec.json.decode(self._dealer.recv_multipart()[-1])
        self._said["ok" if reply["ok"] else reply["error"]["code"]] += 1
        assert reply["ok"] or reply["error"]["message"].isprintable()
        self._due -= 1


def fuzz(server: Served, count: int, seed: int) -> Figures:
    """Send ``count`` frames through libzmq."""
    figures, source = Figures(), frames(seed)
    with watched(server, figures) as client, zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(server.endpoint)
        sender = Sender(dealer, figures.replies)
        for _ in range(count // BATCH):
            sender.send(itertools.islice(source, BATCH))
            look(server, client, figures)
    return figures


def fuzz_wire(server: Served, count: int, seed: int) -> Figures:
    """Open ``count`` connections of bare bytes, to both sockets."""
    figures, source = Figures(), streams(seed)
    descriptors = Path(f"/proc/{server.pid}/fd")
    with watched(server, figures) as client:
        before = len(list(descriptors.iterdir()))
        for _ in range(count // BATCH):
            for k, data in enumerate(itertools.islice(source, BATCH)):
                exchange(server.folder / ("t.sock" if k % 4 == 0 else "c.sock"), data)
            server.publish({})  # as the daemon does once a second; it closes some connections to telemetry
            look(server, client, figures)
    deadline_s = time.monotonic() + 5
    while len(list(descriptors.iterdir())) > before:
        assert time.monotonic() < deadline_s, "connections are kept"
        server.publish({})
        time.sleep(0.05)
    return figures


def exchange(path: Path, data: bytes) -> None:
    """Send all bytes, and receive until the other side hangs up, which it may do early.

    Once in fifty thousand it does not: libzmq waits with that until the next telemetry is sent, and we hang up.
    """
    with connected(path) as one:
        try:
            one.sendall(data)
            one.shutdown(socket.SHUT_WR)
            while one.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass


def check(figures: Figures) -> None:
    assert figures.growth_mb < FLAT_MB, figures
    assert median(figures.pings_s) < PROMPT_S, figures
    assert max(figures.pings_s) < 1, figures


def check_frames(figures: Figures, count: int) -> None:
    assert figures.replies.total() == count // BATCH * BATCH
    assert set(figures.replies) == CODES | {"ok"}


def test_twenty_thousand_damaged_frames(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        figures = fuzz(server, 20_000, seed=1)
        check(figures)
        check_frames(figures, 20_000)
    assert server.counters["errors"] == 0


def test_two_thousand_damaged_connections(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        check(fuzz_wire(server, 2000, seed=1))
    assert server.counters["errors"] == 0


@pytest.mark.slow
def test_a_million_damaged_frames(tmp_path: Path) -> None:
    count, seed = int(os.environ.get("FUZZ_FRAMES", "1000000")), int(os.environ.get("FUZZ_SEED", "1"))
    with served(tmp_path) as server:
        for figures in (fuzz(server, count, seed), fuzz_wire(server, max(BATCH, count // 20), seed)):
            check(figures)
            assert sorted(figures.pings_s)[round(0.99 * (len(figures.pings_s) - 1))] < PROMPT_S, figures
    assert server.counters["errors"] == 0


def test_every_seed_gives_its_own_frames() -> None:
    for make in (frames, streams):
        first, again, other = (list(itertools.islice(make(seed), 300)) for seed in (1, 1, 2))
        assert first == again != other


def test_no_frame_stops_the_daemon() -> None:
    """The last part is the request, and damaged shutdown requests are among the frames."""
    asked = b""
    for parts in itertools.islice(frames(4), 20_000):
        asked += parts[-1] if b"shutdown" in parts[-1] and len(parts[-1]) < 1000 else b""
        try:
            assert not isinstance(parse(parts[-1])[1], Shutdown)
        except ControlError:
            continue
    assert asked.count(b'"shutdown"') > 100
