"""The conversation with the service manager, on a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdiffd.daemon.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(path))
        s.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield s


def test_the_whole_conversation(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    notifier = Notifier()
    notifier.ready("plays")
    notifier.status("3 notes")
    notifier.watchdog()
    notifier.watchdog()  # again within a quarter of the period: not sent
    notifier.stopping()
    said = [manager.recv(1024).decode() for _ in range(4)]
    assert said == ["READY=1\nSTATUS=plays", "STATUS=3 notes", "WATCHDOG=1", "STOPPING=1"]


def test_abstract_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"specdiffd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind("\0" + name)
        s.settimeout(2)
        Notifier("@" + name).ready("x")
        assert s.recv(100).startswith(b"READY=1")


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notifier = Notifier()
    assert notifier.watchdog_s is None
    notifier.ready("x")
    Notifier(str(tmp_path / "gone")).stopping()


def test_the_watchdog_of_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notifier("x").watchdog_s is None


def test_a_status_is_one_line_whatever_it_quotes(manager: socket.socket) -> None:
    """A second line would be another message to the manager: an instrument's name could tell it to watch another process."""
    Notifier().status("x\nMAINPID=1\x1b[31m\ud800")
    assert manager.recv(1024) == b"STATUS=x\\nMAINPID=1\\x1b[31m\\ud800"
    Notifier().ready("y\nWATCHDOG=trigger")
    assert manager.recv(1024) == b"READY=1\nSTATUS=y\\nWATCHDOG=trigger"


@pytest.mark.parametrize("text", ["", "0", "-1", "²", "x", "1e6", "1" * 5000, "1" * 400, " ", "NaN"])
def test_a_watchdog_that_makes_no_sense_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", text)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert Notifier("").watchdog_s is None


@pytest.mark.parametrize("address", ["/" + "x" * 200, "@" + "x" * 200, "vsock:2:1234", "\udcff", "a\0b"])
def test_an_address_that_makes_no_sense_is_not_spoken_to(address: str) -> None:
    Notifier(address).ready("x")


def test_without_file_descriptors_playing_goes_on(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(24, "Too many open files")

    notifier = Notifier()
    with monkeypatch.context() as without:
        without.setattr(socket, "socket", refused)
        notifier.status("x")
    notifier.status("y")
    assert manager.recv(1024) == b"STATUS=y"
