import json

import pytest

from specdiffd.base.errors import ControlError
from specdiffd.control.protocol import COMMANDS, MAX_MESSAGE_BYTES, NoteOn, Reply, encode, parse


def request(cmd: str, v: int = 1, id: object = 7, **args: object) -> bytes:
    return json.dumps({"v": v, "id": id, "cmd": cmd, "args": args}).encode()


def test_a_request_becomes_typed_arguments() -> None:
    assert parse(request("note_on", pitch=60)) == (7, NoteOn(60, 100, 1))
    assert parse(b'{"v": 1, "id": "a", "cmd": "ping"}')[0] == "a"


@pytest.mark.parametrize(
    ("message", "code", "request_id"),
    [
        (b"", "malformed", None),
        (b"\xff\xfe", "malformed", None),
        (b"[]", "malformed", None),
        (b"{", "malformed", None),
        (b'{"v": 1}', "malformed", None),
        (b'{"v": 1, "id": 1, "cmd": "ping", "x": 1}', "malformed", None),
        (b"[" * 50000, "malformed", None),
        (b" " * (MAX_MESSAGE_BYTES + 1), "too_long", None),
        (request("ping", v=2), "version", 7),
        (request("pong"), "unknown_command", 7),
        (request("note_on"), "bad_arguments", 7),
        (request("note_on", pitch=128), "bad_arguments", 7),
        (request("note_on", pitch=60, velocity=0), "bad_arguments", 7),
        (request("note_on", pitch=60, channel=17), "bad_arguments", 7),
        (request("note_on", pitch="C4"), "bad_arguments", 7),
        (request("note_on", pitch=60, loud=1), "bad_arguments", 7),
        (request("gain", db=1e9), "bad_arguments", 7),
        (request("midi", status=0xF0), "bad_arguments", 7),
    ],
)
def test_wrong_messages_are_refused_with_a_reason(message: bytes, code: str, request_id: object) -> None:
    with pytest.raises(ControlError) as error:
        parse(message)
    assert (error.value.code, error.value.request_id) == (code, request_id)
    assert str(error.value)


def test_unknown_commands_are_answered_with_the_known() -> None:
    with pytest.raises(ControlError, match="ping, status, panic, note_on"):
        parse(request("nope"))


def test_every_command_is_documented() -> None:
    assert all(kind.__doc__ for kind in COMMANDS.values())


def test_replies() -> None:
    assert json.loads(encode(Reply(7, True, result={"a": 1}))) == {"id": 7, "ok": True, "result": {"a": 1}}
    assert json.loads(encode(Reply(None, False, error={"code": "x", "message": "y"})))["error"]["code"] == "x"
