"""Whatever one client does, the server's memory does not grow and other clients get their answers."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from served import Served, frame, greeted, served

from specdiffd.base.errors import ControlError
from specdiffd.control.client import ControlClient
from specdiffd.control.protocol import MAX_MESSAGE_BYTES
from specdiffd.control.server import MAX_PARTS

FLAT_MB = 4.0  # allowed growth of a process of 25 MB that is sent 180 MB and more
PING = b'{"v":1,"id":1,"cmd":"ping"}'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as found:
        with ControlClient(found.endpoint) as client:  # allocates what is allocated only once
            for _ in range(50):
                client.call("status")
            with pytest.raises(ControlError, match="65536 bytes"):
                client.reply_to(b" " * (MAX_MESSAGE_BYTES + 1))
        yield found
        answers_promptly(found)
    assert found.counters["errors"] == 0
    for counter, least in found.expected.items():
        assert found.counters[counter] >= least


def answers_promptly(server: Served) -> None:
    with ControlClient(server.endpoint, timeout_s=2) as client:
        started_s = time.monotonic()
        assert client.call("ping") == {}
        assert time.monotonic() - started_s < 1


@contextlib.contextmanager
def flat(server: Served) -> Iterator[None]:
    before_mb = server.memory_mb
    yield
    deadline_s = time.monotonic() + 5
    while server.memory_mb - before_mb > FLAT_MB:  # until it has returned what it needed meanwhile
        assert time.monotonic() < deadline_s, f"{before_mb} MB before, {server.memory_mb} after"
        answers_promptly(server)


@pytest.fixture
def dealer(server: Served) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as found:
        found.linger = 0
        found.connect(server.endpoint)
        yield found


def refused(dealer: zmq.Socket[bytes], parts: list[bytes]) -> list[bytes]:
    """Send a message that must be refused; returns the parts before the refusal."""
    dealer.send_multipart(parts)
    assert dealer.poll(20_000)
    *envelope, body = dealer.recv_multipart()
    reply = json.loads(body)
    assert (reply["id"], reply["ok"], reply["error"]["code"]) == (None, False, "too_long")
    return envelope


def test_a_message_of_three_thousand_parts_is_refused_and_not_kept(server: Served, dealer: zmq.Socket[bytes]) -> None:
    with flat(server):
        assert refused(dealer, [b"x" * 60_000] * 3000) == []
    dealer.send(PING)
    assert dealer.poll(2000)
    assert json.loads(dealer.recv())["ok"]


@pytest.mark.parametrize(
    ("parts", "envelope"),
    [
        ([b" " * (MAX_MESSAGE_BYTES + 1)], []),
        ([b"x" * (MAX_MESSAGE_BYTES - len(PING) + 1), PING], []),  # each part is small enough, both together are too large
        ([b"", b" " * (MAX_MESSAGE_BYTES + 1)], [b""]),  # from a REQ socket, whose reply needs the delimiter
        ([b"a", b"", b" " * (MAX_MESSAGE_BYTES + 1)], [b"a", b""]),
        ([b"x"] * MAX_PARTS + [PING], []),
        ([b"", *[b"x"] * MAX_PARTS, PING], [b""]),
        ([b"x" * (MAX_MESSAGE_BYTES + 1), b"", PING], []),
    ],
)
def test_the_limit_holds_for_the_whole_message(dealer: zmq.Socket[bytes], parts: list[bytes], envelope: list[bytes]) -> None:
    assert refused(dealer, parts) == envelope


@pytest.mark.parametrize(
    "parts", [[PING.ljust(MAX_MESSAGE_BYTES)], [b"x"] * (MAX_PARTS - 1) + [PING], [b"x" * (MAX_MESSAGE_BYTES - len(PING)), PING]]
)
def test_a_message_just_within_the_limit_is_answered(dealer: zmq.Socket[bytes], parts: list[bytes]) -> None:
    dealer.send_multipart(parts)
    assert dealer.poll(2000)
    *envelope, body = dealer.recv_multipart()
    assert envelope == parts[:-1]
    assert json.loads(body)["ok"]


def test_req_sockets_are_told_too(server: Served) -> None:
    with zmq.Context() as context, context.socket(zmq.REQ) as client:
        client.linger = 0
        client.connect(server.endpoint)
        client.send_multipart([b"x" * 60_000] * 100)
        assert client.poll(5000)
        assert json.loads(client.recv())["error"]["code"] == "too_long"
        client.send(PING)
        assert client.poll(2000)
        assert json.loads(client.recv())["ok"]


def hears(server: Served, client: socket.socket) -> None:
    """Wait until a subscription is in force."""
    client.settimeout(0.02)
    for k in range(500):
        server.publish({"hello": k})
        with contextlib.suppress(TimeoutError):
            client.recv(1)
            client.settimeout(5)
            return
    raise AssertionError("it hears nothing")


def heard_to(client: socket.socket, end: bytes) -> None:
    """Read until the last published value has come."""
    last = b""
    while end not in last:
        more = client.recv(65536)
        assert more, "the connection was closed"
        last = last[-len(end) :] + more


def test_a_connection_in_use_stays_open(server: Served) -> None:
    with ControlClient(server.endpoint) as client, contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(greeted(server.folder / "c.sock"))
            assert client.call("ping") == {}


def test_a_flood_from_other_clients_does_not_delay_an_answer(server: Served) -> None:
    """Each of them always has more requests waiting than are answered in one turn."""
    with flat(server), contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(greeted(server.folder / "c.sock"))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(1000):
                    client.send(frame(b"") * 5000)
        answers_promptly(server)


def test_a_client_that_never_reads_misses_replies_and_costs_no_more(server: Served) -> None:
    """ZeroMQ drops its replies beyond the high-water mark."""
    request = frame(b'{"v":1,"id":1,"cmd":"status"}')
    with greeted(server.folder / "c.sock") as client:
        client.settimeout(1)
        before_mb = server.memory_mb
        with contextlib.suppress(TimeoutError):
            for _ in range(200):
                client.sendall(request * 100)
        answers_promptly(server)
        assert server.memory_mb - before_mb < 40  # 62 MB of replies


def test_a_subscriber_that_never_reads_loses_telemetry_and_another_does_not(server: Served) -> None:
    with greeted(server.folder / "t.sock", b"SUB") as deaf, greeted(server.folder / "t.sock", b"SUB") as other:
        before_mb = server.memory_mb
        for client in (deaf, other):
            client.sendall(frame(b"\x09SUBSCRIBE", 4))
            hears(server, client)
        for k in range(4000):
            server.publish({"filler": "x" * 10_000, "k": k})
            if k % 50 == 0:
                heard_to(other, b'"k":%d}' % k)
        answers_promptly(server)
        assert server.memory_mb - before_mb < 30  # of 40 MB that were published
