import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from specdiffd.base.config import ControlConfig
from specdiffd.base.errors import ConfigError, ControlError, DeviceError
from specdiffd.control.client import ControlClient
from specdiffd.control.protocol import Arguments, Gain, NoteOn, Ping
from specdiffd.control.server import ControlServer, endpoints


def handler(arguments: Arguments) -> Any:
    match arguments:
        case Ping():
            return {"pong": True}
        case NoteOn(pitch):
            raise ControlError("busy", f"no room for {pitch}")
        case Gain():
            raise RuntimeError("a bug")
    return {}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ControlConfig:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return ControlConfig()


@pytest.fixture
def server(config: ControlConfig) -> Iterator[ControlServer]:
    s = ControlServer(config, handler)
    s.start()
    yield s
    s.stop()


def test_sockets_are_private_and_removed(server: ControlServer) -> None:
    path = Path(server.endpoint.removeprefix("ipc://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    server.stop()
    assert not path.exists()


def test_requests_are_answered(server: ControlServer) -> None:
    with ControlClient(server.endpoint) as client:
        assert client.call("ping") == {"pong": True}
        with pytest.raises(ControlError, match="no room for 60") as error:
            client.call("note_on", pitch=60)
        assert error.value.code == "busy"
        with pytest.raises(ControlError, match="RuntimeError: a bug"):
            client.call("gain")
        assert client.call("ping") == {"pong": True}


def test_malformed_messages_get_an_error_and_the_server_lives(server: ControlServer) -> None:
    with ControlClient(server.endpoint) as client:
        for message in (b"", b"{", b"\x00" * 100, b'{"v":1,"id":3,"cmd":"nope"}'):
            with pytest.raises(ControlError):
                client.reply_to(message)
        assert client.call("ping") == {"pong": True}


def test_req_sockets_with_their_empty_frame_are_answered_too(server: ControlServer) -> None:
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(server.endpoint)
        socket.send(b'{"v":1,"id":1,"cmd":"ping"}')
        assert socket.poll(2000)
        assert msgspec.json.decode(socket.recv())["ok"] is True


def test_telemetry_is_published_by_topic(server: ControlServer) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe("status")
        socket.connect(server.publish_endpoint)
        got = None
        for _ in range(100):  # until the subscription has arrived
            server.publish("latency", {"no": 1})
            server.publish("status", {"notes": 3})
            if socket.poll(50):
                got = socket.recv_multipart()
                break
        assert got == [b"status", b'{"notes":3}']


def test_telemetry_that_is_not_sent_is_dropped_oldest_first(config: ControlConfig) -> None:
    server = ControlServer(config, handler)  # not started
    try:
        for k in range(1000):
            server.publish("status", k)
        assert server.dropped == 1000 - 256
    finally:
        server.stop()


def test_many_clients_at_once(server: ControlServer) -> None:
    results: list[Any] = []

    def ask() -> None:
        with ControlClient(server.endpoint) as client:
            results.extend(client.call("ping") for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [{"pong": True}] * 160


def test_a_second_daemon_is_refused_and_a_dead_daemons_socket_is_replaced(server: ControlServer, config: ControlConfig) -> None:
    with pytest.raises(DeviceError, match="another specdiffd is running"):
        ControlServer(config, handler)
    path = Path(server.endpoint.removeprefix("ipc://"))
    server.stop()
    import socket

    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    again = ControlServer(config, handler)
    again.stop()


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:5555", "tcp://*:5555", "udp://x", "socket"])
def test_open_endpoints_are_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"control\.endpoint"):
        endpoints(ControlConfig(endpoint=endpoint))


def test_loopback_tcp_works() -> None:
    server = ControlServer(ControlConfig(endpoint="tcp://127.0.0.1:47312", publish="tcp://127.0.0.1:47313"), handler)
    server.start()
    try:
        with ControlClient("tcp://127.0.0.1:47312") as client:
            assert client.call("ping") == {"pong": True}
    finally:
        server.stop()


def test_a_missing_daemon_is_an_error(config: ControlConfig, tmp_path: Path) -> None:
    with ControlClient(f"ipc://{tmp_path}/none.sock", timeout_s=0.2) as client, pytest.raises(ControlError, match="is specdiffd running"):
        client.call("ping")
