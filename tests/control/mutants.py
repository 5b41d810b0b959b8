"""Endless damaged control messages. Equal seeds give equal messages, different seeds different ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from specdiffd.base.errors import ControlError
from specdiffd.control.protocol import COMMANDS, MAX_MESSAGE_BYTES, Shutdown, parse

WHOLE: dict[str, list[dict[str, Any]]] = {
    "ping": [{}],
    "status": [{}],
    "panic": [{}],
    "note_on": [{"pitch": 60}, {"pitch": 60, "velocity": 100, "channel": 1}],
    "note_off": [{"pitch": 60}, {"pitch": 60, "channel": 16}],
    "program": [{"program": 73}, {"program": 0, "channel": 10}],
    "midi": [{"status": 0xB0, "data1": 64, "data2": 127}, {"status": 0xE0}],
    "gain": [{}, {"db": -6}, {"db": 0.5}],
    "set": [{"key": "audio.gain_db", "value": -3}, {"key": "audio.device", "value": "null"}],
    "get": [{"key": "audio.gain_db"}, {"key": "midi.connect"}],
    "shutdown": [{}],
}
assert set(WHOLE) == set(COMMANDS), "every command has its mutants"

# As JSON text, so that there can be values that no JSON library would write.
VALUES = [
    *(
        "null",
        "true",
        "false",
        "{}",
        "[]",
        '""',
        "0",
        "-0",
        "-1",
        "127",
        "128",
        "0.5",
        "1e400",
        "-1e-400",
        "1E+308",
        "NaN",
        "Infinity",
        "-Infinity",
    ),
    *(
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "1" * 400,
        "9" * 5000,
        "0x10",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "--1",
    ),
    *(
        '"\\u0000"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\ud83c\\udfb9"',
        '"\x1b[2J"',
        '"\\u001b]0;x\\u0007"',
        '"a\\nb"',
        '"\n"',
        "'a'",
        '"\\x41"',
        '"',
    ),
    *(
        '"' + "x" * 3000 + '"',
        "[" * 2000,
        '{"a":' * 500,
        "[" * 60 + "]" * 60,
        "[1,2,3]",
        '{"pitch":60}',
        "undefined",
        "audio.gain_db",
        "/*",
        "\ufeff1",
    ),
    *('"audio.gain_db"', '"control.endpoint"', '"."', '"..."', '"audio."', '".gain_db"', '"__class__.__init__"', '"\u202e"', '"\u2028"'),
]
INVALID = [
    b"\xff",
    b"\xfe\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xe2\x82",
    b"\xf0\x9f\x8e",
    b"\x00",
    b"\x1b[31m",
]

Rng = random.Random


def frames(seed: int) -> Iterator[list[bytes]]:
    """Messages without end, each as the parts that a DEALER socket sends; none of them stops the daemon."""
    rng = random.Random(seed)
    while True:
        parts = _parts(rng, _body(rng))
        if not _stops(parts[-1]):
            yield parts


def streams(seed: int) -> Iterator[bytes]:
    """Bytes of connections without end, from the first byte on, damaged at any place of the protocol."""
    rng, messages = random.Random(seed), frames(seed)
    while True:
        said = [GREETING, _framed(rng.choice(READIES), 4)]
        said += [_message(next(messages)) for _ in range(rng.randrange(6))]
        said += [_framed(rng.choice(ORDERS), 4) for _ in range(rng.randrange(3))]
        rng.shuffle(said) if rng.random() < 0.05 else None
        data = b"".join(said)
        yield _damaged(rng, data) if rng.random() < 0.9 else data


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 1 + 31)
READIES = [
    b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind + more
    for kind in (b"DEALER", b"REQ", b"ROUTER", b"SUB", b"PUSH", b"")
    for more in (b"", b"\x08Identity\x00\x00\x00\x04abcd", b"\x01", b"\x01x\xff\xff\xff\xff")
]
ORDERS = [
    b"\x04PING\x00\x0actx",
    b"\x04PONGctx",
    b"\x09SUBSCRIBEstatus",
    b"\x06CANCELstatus",
    b"\x05ERROR\x03bad",
    b"",
    b"\x00",
    b"\xffA",
    b"\x07UNKNOWN",
]


def _stops(body: bytes) -> bool:
    try:
        return isinstance(parse(body)[1], Shutdown)
    except ControlError:
        return False


def _body(rng: Rng) -> bytes:
    make: Callable[[Rng], bytes] = rng.choices(
        (_whole, _revalued, _rekeyed, lambda rng: _damaged(rng, _whole(rng)), lambda rng: _damaged(rng, _revalued(rng)), _noise, _huge),
        (6, 40, 10, 30, 10, 4, 0.1),
    )[0]
    return make(rng)


def _request(rng: Rng) -> dict[str, Any]:
    command = rng.choice(sorted(WHOLE))
    return {"v": 1, "id": rng.choice([rng.randrange(1000), "a", -1]), "cmd": command, "args": rng.choice(WHOLE[command])}


def _whole(rng: Rng) -> bytes:
    return json.dumps(_request(rng)).encode()


def _revalued(rng: Rng) -> bytes:
    """A request in which one or two values, or arguments, are wrong."""
    request = {key: json.dumps(value) for key, value in _request(rng).items()}
    arguments = {key: json.dumps(value) for key, value in json.loads(request["args"]).items()}
    for _ in range(rng.choice([1, 1, 2])):
        group = arguments if arguments and rng.random() < 0.8 else request
        group[rng.choice(sorted(group))] = rng.choice(VALUES)
    if rng.random() < 0.9:
        request["args"] = _object(arguments)
    return _object(request).encode(errors="surrogatepass")


def _rekeyed(rng: Rng) -> bytes:
    """A request in which keys are missing, repeated or wrong."""
    pairs = [(json.dumps(key), json.dumps(value)) for key, value in _request(rng).items()]
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(len(pairs) or 1)
        match rng.randrange(3):
            case 0:
                pairs[at : at + 1] = []
            case 1:
                pairs[at:at] = pairs[at : at + 1] * rng.choice([1, 1, 100])
            case _:
                pairs[at : at + 1] = [(rng.choice(VALUES), rng.choice(VALUES))]
    return ("{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}").encode(errors="surrogatepass")


def _object(values: dict[str, str]) -> str:
    return "{" + ",".join(f'"{key}":{value}' for key, value in values.items()) + "}"


def _noise(rng: Rng) -> bytes:
    return rng.randbytes(rng.choice([0, 1, 2, 16, 300]))


def _huge(rng: Rng) -> bytes:
    """A body of about the largest size that is allowed."""
    return _whole(rng).ljust(MAX_MESSAGE_BYTES + rng.randrange(-2, 3), rng.choice([b" ", b"[", b"\xff"]))


def _damaged(rng: Rng, data: bytes) -> bytes:
    """``data`` with bytes flipped, removed, repeated or inserted, or with its end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + 1] = rng.choice(INVALID)
            case 2:
                changed[at : at + rng.randrange(1, 12)] = b""
            case 3:
                changed[at:at] = changed[at : at + rng.randrange(1, 40)] * rng.choice([1, 1, 50])
            case 4:
                changed[at : at + 4] = rng.randbytes(4)
            case 5:
                changed[at:at] = rng.choice(VALUES).encode(errors="surrogatepass")
            case _:
                if rng.random() < 0.3:
                    del changed[at:]
    return bytes(changed)


def _parts(rng: Rng, body: bytes) -> list[bytes]:
    """The parts of a message: mostly one, or several as proxies and REQ sockets send them, or a wrong number."""
    if rng.random() < 0.75:
        return [body]
    at = rng.randrange(len(body) + 1)
    return rng.choice(
        (
            [b"", body],
            [b"peer", b"", body],
            [body, b""],
            [body, body],
            [body[:at], body[at:]],
            [b""] * rng.randrange(1, 40),
            [*[body] * rng.randrange(1, 40), body],
            [rng.randbytes(rng.randrange(300)) for _ in range(rng.randrange(1, 5))],
            [b"x" * rng.choice([0, 255, 256, 40_000, MAX_MESSAGE_BYTES]), body],
        )
    )


def _framed(body: bytes, flags: int) -> bytes:
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | 2,)) + len(body).to_bytes(8, "big") + body


def _message(parts: list[bytes]) -> bytes:
    return b"".join([*(_framed(part, 1) for part in parts[:-1]), _framed(parts[-1], 0)])
