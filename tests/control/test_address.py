"""Endpoints that cannot be used are refused before anything starts, and no file of somebody else is removed."""

import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from specdiffd.base.config import ControlConfig
from specdiffd.base.errors import ConfigError, DeviceError, SpecdiffdError
from specdiffd.control.address import MAX_PATH_BYTES, endpoints
from specdiffd.control.client import ControlClient
from specdiffd.control.server import ControlServer


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run" / "specdiffd"


def started(**keys: str) -> ControlServer:
    server = ControlServer(ControlConfig(**keys), lambda arguments: {})
    server.start()
    return server


@pytest.mark.parametrize("key", ["endpoint", "publish"])
@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("tcp://127.0.0.1:99999", "PORT from 1 to 65535"),
        ("tcp://127.0.0.1:65536", "PORT from 1 to 65535"),
        ("tcp://127.0.0.1:0", "PORT from 1 to 65535"),
        ("tcp://127.0.0.1:", "PORT from 1 to 65535"),
        ("tcp://127.0.0.1:-1", "PORT from 1 to 65535"),
        ("tcp://127.0.0.1:*", "PORT from 1 to 65535"),
        ("tcp://127.0.0.1:5555/x", "PORT from 1 to 65535"),
        ("tcp://127.0.0.1:٣", "PORT from 1 to 65535"),
        ("tcp://127.0.0.1:" + "9" * 5000, "PORT from 1 to 65535"),
        ("tcp://localhost:http", "PORT from 1 to 65535"),
        ("tcp://127.0.0.1", "loopback"),
        ("tcp://", "loopback"),
        ("tcp://0.0.0.0:5555", "loopback"),
        ("tcp://*:5555", "loopback"),
        ("tcp://[::]:5555", "loopback"),
        ("tcp://eth0:5555", "loopback"),
        ("tcp://127.0.0.1:1@evil.example:5555", "loopback"),
        ("inproc://x", "expected auto, ipc://PATH or tcp://127.0.0.1:PORT"),
        ("udp://x", "expected auto"),
        ("socket", "expected auto"),
        ("", "expected auto"),
        (" auto", "expected auto"),
        ("ipc://", "the path of a socket file"),
        ("ipc:///tmp/", "the path of a socket file"),
        ("ipc://*", "the path of a socket file"),
        ("ipc://@specdiffd", "others can be kept from"),
        ("ipc:///tmp/a\0b", "the path of a socket file"),
        ("ipc:///" + "x" * 107, "has 108 bytes, expected a socket's, 107 at most"),
        ("ipc:///" + "é" * 54, "has 109 bytes"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_refused_by_name(key: str, value: str, right: str) -> None:
    with pytest.raises(ConfigError) as error:
        endpoints(ControlConfig(**{key: value}))
    said = str(error.value)
    assert said.startswith(f"control.{key} {value[:20]!r}"[:-1])
    assert right in said
    assert len(said) < 500


def test_the_longest_path_can_be_used(tmp_path: Path) -> None:
    path = f"{tmp_path}/".ljust(MAX_PATH_BYTES, "x")
    server = started(endpoint=f"ipc://{path}")
    try:
        with ControlClient(f"ipc://{path}") as client:
            assert client.call("ping") == {}
    finally:
        server.stop()
    assert not os.path.lexists(path)


def test_a_long_runtime_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/" + "x" * 107)
    with pytest.raises(ConfigError, match=r"control\.endpoint .*107 at most \(auto: under \$XDG_RUNTIME_DIR\)"):
        endpoints(ControlConfig())


def test_a_relative_runtime_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "run")
    with pytest.raises(ConfigError, match=r"\$XDG_RUNTIME_DIR 'run': expected an absolute path"):
        endpoints(ControlConfig())
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", "tmp")
    with pytest.raises(ConfigError, match=r"\$TMPDIR 'tmp'"):
        endpoints(ControlConfig())
    monkeypatch.delenv("TMPDIR")
    assert endpoints(ControlConfig())[0].text == f"ipc:///tmp/specdiffd-{os.geteuid()}/control.sock"


@pytest.mark.parametrize(
    ("endpoint", "publish"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
        ("tcp://127.0.0.1:5555", "tcp://localhost:5555"),
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:05555"),
        ("ipc:///tmp/a.sock", "ipc:///tmp/a.sock"),
        ("ipc:///tmp/a.sock", "ipc:///tmp/../tmp//a.sock"),
        ("auto", "ipc://RUNTIME/control.sock"),
    ],
)
def test_requests_and_telemetry_need_two_endpoints(endpoint: str, publish: str, runtime: Path) -> None:
    publish = publish.replace("RUNTIME", str(runtime))
    with pytest.raises(ConfigError, match=r"control\.publish '.*': the same as control\.endpoint, expected another"):
        endpoints(ControlConfig(endpoint=endpoint, publish=publish))


def regular(path: Path) -> None:
    path.write_text("precious")


def link_to_a_file(path: Path) -> None:
    path.with_name("target").write_text("precious")
    path.symlink_to(path.with_name("target"))


def link_to_a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path.with_name("target")))
    path.symlink_to(path.with_name("target"))


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


@pytest.mark.parametrize("key", ["endpoint", "publish"])
@pytest.mark.parametrize("make", [regular, link_to_a_file, link_to_a_socket, link_to_nothing, os.mkfifo, os.mkdir])
def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path, key: str, make: Any) -> None:
    make(tmp_path / "there")
    before = {path: (os.lstat(path).st_ino, path.read_text() if path.is_file() else "") for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=rf"control\.{key} '.*/there': is a .* already, expected a path where nothing is"):
        started(**{key: f"ipc://{tmp_path}/there"})
    after = {path: (os.lstat(path).st_ino, path.read_text() if path.is_file() else "") for path in tmp_path.iterdir() if path.name != "run"}
    assert after == before


def left_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def test_only_a_dead_socket_of_ours_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.sock"
    left_over(path)
    started(endpoint=f"ipc://{path}").stop()
    left_over(path)
    with monkeypatch.context() as another:
        another.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(ConfigError, match=f"is a socket of user {os.getuid()}, expected a path where nothing is"):
            started(endpoint=f"ipc://{path}", publish=f"ipc://{tmp_path}/t.sock")
    assert path.is_socket()


@pytest.mark.parametrize("listening", [0, 1])
def test_a_socket_somebody_listens_at_is_not_replaced(tmp_path: Path, listening: int) -> None:
    """Also if it is too busy to accept."""
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
        other.bind(str(path))
        other.listen(listening)
        waiting.connect(str(path))
        with pytest.raises(DeviceError, match="another specdiffd is running here"):
            started(endpoint=f"ipc://{path}")
        assert path.is_socket()


def test_stopping_removes_only_its_own_socket(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    server = started(endpoint=f"ipc://{path}")
    path.unlink()
    path.write_text("precious")
    server.stop()
    assert path.read_text() == "precious"


def test_a_server_that_does_not_start_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("precious")
    with pytest.raises(ConfigError):
        started(endpoint=f"ipc://{tmp_path}/c.sock", publish=f"ipc://{tmp_path}/t")
    assert not (tmp_path / "c.sock").exists()
    started(endpoint=f"ipc://{tmp_path}/c.sock").stop()


def test_of_many_daemons_that_start_at_once_one_runs(tmp_path: Path) -> None:
    """Each finds the same stale socket."""
    for _ in range(50):
        left_over(tmp_path / "c.sock")
        found: list[ControlServer | SpecdiffdError] = []

        def start(k: int, found: list[ControlServer | SpecdiffdError] = found) -> None:
            try:
                found.append(started(endpoint=f"ipc://{tmp_path}/c.sock", publish=f"ipc://{tmp_path}/t{k}.sock"))
            except SpecdiffdError as error:
                found.append(error)

        threads = [threading.Thread(target=start, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        servers = [one for one in found if isinstance(one, ControlServer)]
        try:
            assert len(found) == 4
            assert len(servers) == 1
            with ControlClient(servers[0].endpoint) as client:
                assert client.call("ping") == {}
        finally:
            for server in servers:
                server.stop()


def test_sockets_are_private_from_the_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    listen = socket.socket.listen

    def observed(self: socket.socket, backlog: int) -> None:
        modes.append(stat.S_IMODE(os.stat(self.getsockname()).st_mode))
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", observed)
    before = os.umask(0)
    try:
        started(endpoint=f"ipc://{tmp_path}/a/c.sock").stop()
    finally:
        os.umask(before)
    assert modes == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


@pytest.mark.parametrize(("value", "says"), [("ipc:///proc/nothing/c.sock", "No such file"), ("ipc:///dev/null/c.sock", "Not a directory")])
def test_a_place_where_nothing_can_be_made_is_named(value: str, says: str) -> None:
    with pytest.raises(SpecdiffdError, match=rf"control\.endpoint '{value}': {says}|control\.endpoint '{value}': .*exists"):
        started(endpoint=value)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        value = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(DeviceError, match=rf"control\.endpoint '{value}': Address already in use"):
            started(endpoint=value)
