"""The control protocol as types. JSON: {"v": 1, "id": ..., "cmd": ..., "args": {...}} -> {"id": ..., "ok": ..., ...}."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from specdiffd.base.errors import ControlError
from specdiffd.base.text import clipped, printable, told

VERSION = 1
MAX_MESSAGE_BYTES = 64 * 1024

T = TypeVar("T")
Seven = Annotated[int, Meta(ge=0, le=127)]
Velocity = Annotated[int, Meta(ge=1, le=127)]
Channel = Annotated[int, Meta(ge=1, le=16)]  # counted from 1, as users do


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """A client's message. Its arguments are checked against the type of its command."""

    v: int
    id: str | int
    cmd: str
    args: msgspec.Raw = msgspec.Raw(b"{}")


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every command's arguments."""


class Ping(Arguments, frozen=True):
    """Are you there?"""


class Status(Arguments, frozen=True):
    """Everything worth knowing, as one object."""


class Panic(Arguments, frozen=True):
    """All sound off, on every channel."""


class NoteOn(Arguments, frozen=True):
    """Begin a note."""

    pitch: Seven
    velocity: Velocity = 100
    channel: Channel = 1


class NoteOff(Arguments, frozen=True):
    """End a note."""

    pitch: Seven
    channel: Channel = 1


class Program(Arguments, frozen=True):
    """Choose a channel's General MIDI program, 0 to 127."""

    program: Seven
    channel: Channel = 1


class Midi(Arguments, frozen=True):
    """A raw channel message of two or three bytes."""

    status: Annotated[int, Meta(ge=0x80, le=0xEF)]
    data1: Seven = 0
    data2: Seven = 0


class Gain(Arguments, frozen=True):
    """Master gain in dB; without a value the present one is returned."""

    db: Annotated[float, Meta(ge=-96, le=24)] | None = None


class Set(Arguments, frozen=True):
    """Change a configuration key of the running daemon."""

    key: str
    value: str | int | float | bool


class Get(Arguments, frozen=True):
    """A configuration key's value."""

    key: str


class Shutdown(Arguments, frozen=True):
    """Stop the daemon."""


COMMANDS: dict[str, type[Arguments]] = {
    "ping": Ping,
    "status": Status,
    "panic": Panic,
    "note_on": NoteOn,
    "note_off": NoteOff,
    "program": Program,
    "midi": Midi,
    "gain": Gain,
    "set": Set,
    "get": Get,
    "shutdown": Shutdown,
}


class Reply(msgspec.Struct, omit_defaults=True):
    """The daemon's answer: it has ``result`` or ``error``."""

    id: str | int | None
    ok: bool
    v: int = VERSION
    result: Any = None
    error: dict[str, str] | None = None


def parse(message: bytes) -> tuple[str | int, Arguments]:
    """A request's id and its typed arguments.

    Raises:
        ControlError: too long, no JSON, wrong version, unknown command, wrong arguments. Its ``request_id`` is the
            request's id if that could be read. No other error, whatever the bytes are.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise too_long(len(message))
    request = _decoded(message, Request, "malformed", "expected {v, id, cmd, args} as JSON")
    try:
        return request.id, _arguments(request)
    except ControlError as error:
        error.request_id = request.id
        raise


def too_long(size: int) -> ControlError:
    """The refusal of a message of ``size`` bytes."""
    return ControlError("too_long", f"a message may have {MAX_MESSAGE_BYTES} bytes, this one has {size}")


def _arguments(request: Request) -> Arguments:
    if request.v != VERSION:
        raise ControlError("version", f"protocol version {request.v} is not spoken here, version {VERSION} is")
    kind = COMMANDS.get(request.cmd)
    if kind is None:
        raise ControlError("unknown_command", f"unknown command {request.cmd!r}; there are {', '.join(COMMANDS)}")
    return _decoded(request.args, kind, "bad_arguments", request.cmd)


def _decoded(data: bytes | msgspec.Raw, kind: type[T], code: str, what: str) -> T:
    """JSON as ``kind``.

    Raises:
        ControlError: with ``code``, for any error of the decoder: it raises more than it documents (UnicodeDecodeError, RecursionError).
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        raise ControlError(code, f"{what}: nested too deeply") from error
    except Exception as error:
        raise ControlError(code, f"{what}: {error}") from error


def refusal(request_id: str | int | None, code: str, text: str) -> Reply:
    """An error as a reply. Its texts may quote the request, so they are made printable."""
    return Reply(request_id, False, error={"code": printable(clipped(code)), "message": printable(clipped(text))})


def encode(reply: Reply) -> bytes:
    """A reply as JSON. If a handler's result cannot be encoded, the reply is the error ``internal``."""
    try:
        return msgspec.json.encode(reply)
    except Exception as error:
        return msgspec.json.encode(refusal(reply.id, "internal", f"the result is no JSON: {type(error).__name__}: {told(error)}"))
