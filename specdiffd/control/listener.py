"""A listening socket at an address. It replaces no socket that is in use, and removes only its own file."""

from __future__ import annotations

import contextlib
import os
import socket
import stat

from specdiffd.base.errors import DeviceError
from specdiffd.base.folders import runtime_directory
from specdiffd.control.address import Address
from specdiffd.control.folder import clear, locked, make, make_private

BACKLOG = 128  # connections that wait to be accepted; a program that opens more at once has to try again


class Listener:
    """A socket that is bound and listens.

    Raises:
        ConfigError: there is something at the address that is no socket of ours, or its folder is not ours.
        DeviceError: it cannot be bound, for example because another daemon runs there.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._file: tuple[int, int] | None = None  # device and inode of this socket's file, to recognise it
        family = socket.AF_UNIX if address.path is not None else socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.socket = socket.socket(family)
        try:
            self._bind()
        except OSError as error:
            self.close()
            raise DeviceError(f"{address.key} {address.text!r}: {error.strerror or error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening, and remove the file. It may be called more than once."""
        self.socket.close()
        if self._file is None or self._address.path is None:
            return
        with contextlib.suppress(OSError):
            found = os.lstat(self._address.path)
            if (found.st_dev, found.st_ino) == self._file:
                self._address.path.unlink()
        self._file = None

    def _bind(self) -> None:
        if self._address.path is not None:
            self._bind_file()
        else:
            self.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # without it, a port cannot be bound for minutes after a daemon's death
            self.socket.bind((self._address.host, self._address.port))
            self.socket.listen(BACKLOG)

    def _bind_file(self) -> None:
        path = self._address.path
        assert path is not None
        if path.parent == runtime_directory():
            make_private(path.parent)
        else:  # a place that the user has chosen
            make(path.parent)
        with locked(path.parent):
            clear(path, self._address.key)
            self.socket.bind(str(path))
            found = os.lstat(path)
            self._file = (found.st_dev, found.st_ino)
            os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)  # nobody can connect before it listens
            self.socket.listen(BACKLOG)  # within the lock: a socket that does not listen yet looks like a dead daemon's
