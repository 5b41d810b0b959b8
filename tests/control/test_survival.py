"""No request, no exception of a handler and no error of its own ends the control thread."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from specdiffd.base.config import ControlConfig
from specdiffd.base.errors import ControlError
from specdiffd.control.client import ControlClient
from specdiffd.control.protocol import Arguments, Get, Ping, parse
from specdiffd.control.server import ControlServer


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def endless() -> list[Any]:
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


RAISED = {
    "bug": RuntimeError("a bug"),
    "recursion": RecursionError("too deep"),
    "memory": MemoryError(),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "generator": GeneratorExit(),
    "unspeakable": Unspeakable(),
    "surrogate": RuntimeError("\ud800"),
    "refused": ControlError("\ud800", "\udcff"),
}
RETURNED = {
    "object": object(),
    "text": "\ud800",
    "key": {(1,): 2},
    "number": 10**5000,
    "deep": endless(),
}


def handler(arguments: Arguments) -> Any:
    match arguments:
        case Ping():
            return {"pong": True}
        case Get(key) if key in RAISED:
            raise RAISED[key]
        case Get(key):
            return RETURNED[key]
    return {}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    s = ControlServer(ControlConfig(endpoint=f"ipc://{tmp_path}/c.sock", publish=f"ipc://{tmp_path}/t.sock"), handler)
    s.start()
    yield s
    s.stop()


BROKEN = [
    b'{"v":1,"id":"\xff\xfe","cmd":"ping"}',
    b'{"v":1,"id":7,"cmd":"\xff"}',
    b'{"v":1,"id":7,"cmd":"get","args":{"key":"\xff"}}',
    b'{"v":1,"id":7,"cmd":"get","args":{"\xff":"x"}}',
    b'{"\xff":1}',
    b'{"v":1,"id":7,"cmd":"ping"}\xff',
    b'{"v":1,"id":"\\ud800","cmd":"ping"}',
    b'{"v":1,"id":%s,"cmd":"ping"}' % (b"9" * 5000),
    b'{"v":%s,"id":1,"cmd":"ping"}' % (b"9" * 5000),
    b'{"v":1,"id":1,"cmd":"set","args":{"key":"audio.gain_db","value":1e999}}',
    b'{"v":1,"id":1,"cmd":"gain","args":{"db":NaN}}',
    b'{"v":1,"id":1,"cmd":"ping","args":%s}' % (b"[" * 30000),
    b'{"v":1,"id":1,"cmd":"ping","args":%s}' % (b'{"a":' * 10000),
]


@pytest.mark.parametrize("message", BROKEN, ids=range(len(BROKEN)))
def test_every_broken_request_is_a_control_error(message: bytes) -> None:
    with pytest.raises(ControlError) as error:
        parse(message)
    assert error.value.code in ("malformed", "bad_arguments")


def test_broken_requests_are_answered_and_the_thread_lives(server: ControlServer) -> None:
    with ControlClient(server.endpoint) as client:
        for message in BROKEN:
            with pytest.raises(ControlError) as error:
                client.reply_to(message)
            assert error.value.code in ("malformed", "bad_arguments")
        assert client.call("ping") == {"pong": True}


@pytest.mark.parametrize("identity", [b"0", b"-1", b"9223372036854775808", b"9" * 4000, b'""', b'"\\u0000\\n\\u001b"', '"\u202e"'.encode()])
def test_every_legal_id_comes_back(server: ControlServer, identity: bytes) -> None:
    sent = b'{"v":1,"id":%s,"cmd":"ping"}' % identity
    with ControlClient(server.endpoint) as client:
        assert client.reply_to(sent) == {"pong": True}


@pytest.mark.parametrize("key", RAISED)
def test_no_exception_of_a_handler_ends_the_thread(server: ControlServer, key: str) -> None:
    with ControlClient(server.endpoint) as client:
        with pytest.raises(ControlError) as error:
            client.call("get", key=key)
        if key != "refused":
            assert error.value.code == "internal"
            assert type(RAISED[key]).__name__ in str(error.value)
        assert client.call("ping") == {"pong": True}


@pytest.mark.parametrize("key", RETURNED)
def test_a_result_that_is_no_json_is_an_internal_error(server: ControlServer, key: str) -> None:
    with ControlClient(server.endpoint) as client:
        with pytest.raises(ControlError) as error:
            client.call("get", key=key)
        assert error.value.code == "internal"
        assert client.call("ping") == {"pong": True}


@pytest.mark.parametrize("value", RETURNED.values(), ids=RETURNED)
def test_telemetry_that_is_no_json_is_counted_and_logged(server: ControlServer, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    with ControlClient(server.endpoint) as client, subscriber(server) as heard, caplog.at_level(logging.ERROR):
        server.publish("status", value)
        server.publish("status", {"after": 1})
        assert heard() == {"after": 1}
        assert client.call("ping") == {"pong": True}
    assert server.errors == 1
    assert "telemetry" in caplog.text


def test_an_error_in_the_loop_itself_is_survived(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turns = iter([RuntimeError("a bug of the loop"), SystemExit(1), MemoryError()])
    real = server._turn

    def turn() -> None:
        for error in turns:
            raise error
        real()

    with ControlClient(server.endpoint) as client, caplog.at_level(logging.ERROR):
        monkeypatch.setattr(server, "_turn", turn)
        for _ in range(4):  # the first one is handled by the turn that was waiting already
            assert client.call("ping") == {"pong": True}
    assert server.errors == 3
    assert "a bug of the loop" in caplog.text


def test_a_repeated_error_does_not_flood_the_log(server: ControlServer, caplog: pytest.LogCaptureFixture) -> None:
    with ControlClient(server.endpoint) as client, caplog.at_level(logging.ERROR):
        for _ in range(50):
            with pytest.raises(ControlError):
                client.call("get", key="bug")
    assert 1 <= len(caplog.records) <= 2
    assert server.errors == 50


def subscriber(server: ControlServer) -> Any:
    """A function that returns the next value of the topic ``status``."""
    from contextlib import contextmanager

    import zmq

    @contextmanager
    def context() -> Iterator[Any]:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.subscribe("")
            socket.connect(server.publish_endpoint)
            for _ in range(200):
                server.publish("hello", None)
                if socket.poll(20):
                    break

            def heard() -> Any:
                while True:
                    assert socket.poll(3000)
                    topic, value = socket.recv_multipart()
                    if topic == b"status":
                        return msgspec.json.decode(value)

            yield heard

    return context()
