"""The runtime folder and the socket files in it. Only a private folder is used, and only this user's sockets are replaced.

In this package, *ours* means: of the user that runs the program.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from specdiffd.base.errors import ConfigError, DeviceError

PRIVATE = 0o700
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
PROBE_S = 1.0  # for a socket to answer; one that is busy for longer counts as used, so a larger value only delays the refusal
LOCK_S = 5.0  # wait for another daemon that is starting in the same folder; it only binds two sockets
KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def make_private(folder: Path) -> None:
    """Create the runtime folder, readable and writable for us alone. An existing one must be ours.

    Raises:
        ConfigError: it cannot be created, or others own it or can write it.
    """
    try:
        make(folder)
    except OSError as error:
        raise _refused(folder, f"cannot be made ({error.strerror})") from error
    check_private(folder)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(handle, PRIVATE)
    finally:
        os.close(handle)


def make(folder: Path) -> None:
    """Create a folder and its missing parents, all of them for us alone. Existing ones stay as they are.

    Raises:
        OSError: one cannot be created.
    """
    for missing in reversed([path for path in (folder, *folder.parents) if not os.path.lexists(path)]):
        with contextlib.suppress(FileExistsError):  # another start was faster
            missing.mkdir(mode=PRIVATE)


def check_private(folder: Path) -> None:
    """Check that the runtime folder, if it exists, is ours and that nobody else can replace it or the sockets in it.

    Raises:
        ConfigError: it is another user's, or others can write it or replace it.
    """
    try:
        found = os.lstat(folder)
        above = [os.lstat(path) for path in (*folder.parents, *Path(os.path.realpath(folder)).parents)]
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refused(folder, f"cannot be looked at ({error.strerror})") from error
    if not stat.S_ISDIR(found.st_mode):
        raise _refused(folder, f"is {kind(found)}")
    if found.st_uid != os.geteuid():
        raise _refused(folder, f"belongs to user {found.st_uid}")
    if found.st_mode & OTHERS_WRITE:
        raise _refused(folder, f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o})")
    if any(_others_can_replace(path) for path in above):
        raise _refused(folder, "lies in a folder that others can write, or behind a symbolic link of theirs")


def check_server(path: Path) -> None:
    """Check that a socket file, if it exists, belongs to us or to root.

    Raises:
        ConfigError: it is no socket, or another user's.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{path}: cannot be looked at ({error.strerror}), expected a socket of a daemon of yours") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path}: is {kind(found)}, expected a socket")
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path}: belongs to user {found.st_uid}, expected a socket of user {os.geteuid()} or of root")


def clear(path: Path, key: str) -> None:
    """Remove the socket that a dead daemon of ours has left at a path, and nothing else.

    Args:
        key: of the configuration, for errors.

    Raises:
        ConfigError: something else is there.
        DeviceError: a daemon answers there.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    right = "expected a path where nothing is; it is left as it is"
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{key} {str(path)!r}: is {kind(found)} already, {right}")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{key} {str(path)!r}: is a socket of user {found.st_uid}, {right}")
    if _is_used(path):
        raise DeviceError(f"{key} {str(path)!r}: another specdiffd is running here (specdiffd ctl shutdown ends it)")
    path.unlink()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A context for one daemon at a time in this folder: otherwise another could bind a socket between its check and its replacement.

    Raises:
        DeviceError: another process holds the lock for longer than ``LOCK_S``.
    """
    handle, deadline_s = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), time.monotonic() + LOCK_S
    try:
        while not _lock(handle):
            if time.monotonic() > deadline_s:
                raise DeviceError(f"{folder}: locked by another process for {LOCK_S:.0f} s")
            time.sleep(0.01)
        yield
    finally:
        os.close(handle)  # also unlocks it


def kind(found: os.stat_result) -> str:
    """The kind of a file, in words."""
    return KINDS.get(stat.S_IFMT(found.st_mode), "no file of a known kind")


def _others_can_replace(found: os.stat_result) -> bool:
    """Whether other users can replace the files in a folder, or the target of a link.

    In a sticky folder such as /tmp users can move only their own files. A group's right to write is allowed, since many systems have a
    group for each user (umask 002).
    """
    if stat.S_ISLNK(found.st_mode):
        return found.st_uid not in (os.geteuid(), 0)
    return bool(found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_used(path: Path) -> bool:
    """Whether somebody may be listening. Only a refused connection proves that nobody is."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def _refused(folder: Path, what: str) -> ConfigError:
    right = f"a folder of user {os.geteuid()} that only they can write (mode 0700), under $XDG_RUNTIME_DIR or the temporary folder"
    return ConfigError(f"the runtime folder {folder} {what}, expected {right}")
