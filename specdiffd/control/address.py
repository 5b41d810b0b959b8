"""The addresses of requests and telemetry, checked before anything is started."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from specdiffd.base.config import ControlConfig
from specdiffd.base.errors import ConfigError
from specdiffd.base.folders import runtime_directory
from specdiffd.base.text import clipped

MAX_PATH_BYTES = 107 if sys.platform == "linux" else 103  # sockaddr_un(7), without the final zero: a longer path cannot be bound
MAX_PORT = 65535
TCP = re.compile(r"tcp://(.*):([^:]*)", re.DOTALL)
LOOPBACK = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "[::1]": "::1"}
EXPECTED = "expected auto, ipc://PATH or tcp://127.0.0.1:PORT"


class Address(NamedTuple):
    """The parts of an endpoint: a path, or a host and a port; and the configuration key that it is the value of."""

    key: str
    text: str
    path: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def place(self) -> tuple[str, str, int]:
        """Equal for two endpoints that mean the same address."""
        return (os.path.realpath(self.path) if self.path is not None else "", self.host, self.port)


def endpoints(config: ControlConfig) -> tuple[Address, Address]:
    """The addresses of requests and of telemetry.

    Raises:
        ConfigError: one of them cannot be used, both are the same, or a TCP address is not loopback, which would let anybody play.
    """
    requests = address("control.endpoint", config.endpoint, "control")
    telemetry = address("control.publish", config.publish, "telemetry")
    if requests.place == telemetry.place:
        raise ConfigError(f"control.publish {config.publish!r}: the same as control.endpoint, expected another one")
    return requests, telemetry


def address(key: str, value: str, auto: str) -> Address:
    """The address of an endpoint.

    Args:
        key: of the configuration, for errors.
        value: the endpoint; ``auto`` is a socket in the runtime folder.
        auto: the name of that socket.

    Raises:
        ConfigError: the endpoint cannot be used; the text names ``key``, the value and what is expected.
    """
    if value == "auto":
        return _ipc(key, f"ipc://{runtime_directory() / auto}.sock", " (auto: under $XDG_RUNTIME_DIR)")
    if value.startswith("ipc://"):
        return _ipc(key, value)
    if value.startswith("tcp://"):
        return _tcp(key, value)
    raise _wrong(key, value, EXPECTED)


def _ipc(key: str, value: str, origin: str = "") -> Address:
    path = value.removeprefix("ipc://")
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise _wrong(key, value, f"the path has {size} bytes, expected a socket's, {MAX_PATH_BYTES} at most{origin}")
    if not path or path.endswith("/") or "\0" in path:
        raise _wrong(key, value, "expected ipc://PATH, the path of a socket file")
    if path[0] in "@*":  # libzmq takes @ for a name without a file, which anybody may use, and * for a name of its choice
        raise _wrong(key, value, "expected ipc://PATH, the path of a socket file that others can be kept from")
    return Address(key, value, Path(path))


def _tcp(key: str, value: str) -> Address:
    found = TCP.fullmatch(value)
    host, port = found.groups() if found is not None else ("", "")
    if host not in LOOPBACK:
        raise _wrong(key, value, "TCP is only allowed on loopback, expected tcp://127.0.0.1:PORT")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= MAX_PORT:
        raise _wrong(key, value, f"expected tcp://{host}:PORT with a PORT from 1 to {MAX_PORT}")
    return Address(key, value, None, LOOPBACK[host], int(port))


def _wrong(key: str, value: str, what: str) -> ConfigError:
    return ConfigError(f"{key} {clipped(value, 200)!r}: {what}")
