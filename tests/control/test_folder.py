"""Neither the daemon nor its client uses a runtime folder that others own or can write."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from specdiffd.base.config import ControlConfig
from specdiffd.base.errors import ConfigError, DeviceError
from specdiffd.base.folders import runtime_directory
from specdiffd.control.folder import check_private, check_server, locked, make_private
from specdiffd.control.server import ControlServer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "specdiffd"


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after whose call all our files belong to somebody else."""
    return lambda: monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o22, 0o77])
def test_the_folder_is_made_private(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_private(folder)
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    check_private(folder)


def test_one_that_others_can_read_becomes_private(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    check_private(folder)
    make_private(folder)
    assert mode(folder) == 0o700


@pytest.mark.parametrize("bits", [0o777, 0o770, 0o720, 0o702, 0o1777])
def test_one_that_others_can_write_is_refused(folder: Path, bits: int) -> None:
    folder.mkdir()
    folder.chmod(bits)
    for check in (make_private, check_private):
        with pytest.raises(
            ConfigError, match=rf"runtime folder .*/specdiffd can be written by others \(mode {bits:04o}\), expected .*0700"
        ):
            check(folder)
    assert mode(folder) == bits


def test_one_of_another_owner_is_refused(folder: Path, another: Callable[[], None]) -> None:
    make_private(folder)
    another()
    for check in (make_private, check_private):
        with pytest.raises(ConfigError, match=f"belongs to user {os.getuid()}, expected a folder of user {os.getuid() + 1}"):
            check(folder)


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_symbolic_link_is_refused(folder: Path, target: str) -> None:
    folder.with_name("elsewhere").mkdir(mode=0o755)
    folder.symlink_to(folder.with_name(target))
    for check in (make_private, check_private):
        with pytest.raises(ConfigError, match="is a symbolic link, expected a folder"):
            check(folder)
    assert mode(folder.with_name("elsewhere")) == 0o755


def test_a_file_is_refused(folder: Path) -> None:
    folder.write_text("precious")
    for check in (make_private, check_private):
        with pytest.raises(ConfigError, match="is a regular file, expected a folder"):
            check(folder)


def test_a_folder_above_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for folder in (tmp_path / "open" / "specdiffd", tmp_path / "open" / "mine" / "specdiffd"):
        with pytest.raises(ConfigError, match="lies in a folder that others can write"):
            make_private(folder)
    (tmp_path / "open").chmod(0o1777)  # like /tmp
    make_private(tmp_path / "open" / "specdiffd")


def test_a_link_above_must_be_ours_or_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make_private(tmp_path / "link" / "specdiffd")
    real = os.lstat

    def others_link(path: Path) -> os.stat_result:
        found = real(path)
        return os.stat_result((*found[:4], 12345, *found[5:])) if Path(path).name == "link" else found

    monkeypatch.setattr(os, "lstat", others_link)
    with pytest.raises(ConfigError, match="behind a symbolic link of theirs"):
        check_private(tmp_path / "link" / "specdiffd")


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(ConfigError, match=r"the runtime folder /proc/none/specdiffd cannot be made"):
        make_private(Path("/proc/none/specdiffd"))


def test_nothing_there_is_no_problem_for_a_client(folder: Path) -> None:
    check_private(folder)
    assert not folder.exists()


@pytest.mark.parametrize("key", ["endpoint", "publish"])
def test_the_daemon_refuses_it_for_either_socket(folder: Path, tmp_path: Path, key: str) -> None:
    (tmp_path / "mine").mkdir()
    folder.mkdir()
    folder.chmod(0o777)
    for value in ("auto", f"ipc://{folder}/x.sock"):  # the same folder by its full path
        other = {"endpoint": "publish", "publish": "endpoint"}[key]
        with pytest.raises(ConfigError, match="can be written by others"):
            ControlServer(ControlConfig(**{key: value, other: f"ipc://{tmp_path}/mine/o.sock"}), lambda arguments: {})
    assert list((tmp_path / "mine").iterdir()) == []


def test_the_fallback_is_checked_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / f"specdiffd-{os.geteuid()}"
    assert runtime_directory() == folder
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by others"):
        ControlServer(ControlConfig(), lambda arguments: {})


def bound(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
    return path


def test_a_client_speaks_to_sockets_of_its_user_and_of_root(tmp_path: Path, another: Callable[[], None]) -> None:
    path = bound(tmp_path / "c.sock")
    check_server(path)
    check_server(tmp_path / "none.sock")
    another()
    if os.getuid() == 0:
        check_server(path)
        os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match=r"belongs to user \d+, expected a socket of user \d+ or of root"):
        check_server(path)


def test_a_client_speaks_to_sockets_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a regular file, expected a socket"):
        check_server(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be looked at"):
        check_server(tmp_path / "file" / "c.sock")


def test_one_start_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdiffd.control.folder.LOCK_S", 0.05)
    with locked(tmp_path), pytest.raises(DeviceError, match="locked by another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
