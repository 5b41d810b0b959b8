import multiprocessing
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from specdiffd.shared.messages import (
    Alive,
    EngineReady,
    Failed,
    Go,
    IoReady,
    Loaded,
    Message,
    MidiConnections,
    Report,
    SoundingNote,
    Stop,
    Waiting,
    Working,
    decode_news,
    receive_order,
    send,
    utf8,
)

REPORT = Report(
    counters={"events": 3},
    revision={"count": 1, "p50_ms": 2.5, "max_ms": None},
    sounding_notes=[SoundingNote(1, 60, 100, 0)],
    programs=[0] * 16,
    asleep=False,
    latencies=[{"slack": -0.125}],
    midi=[(1 << 50, 0x90, 60, 100)],
    render_delay_ms=33.25,
    snapshot=bytes(range(256)),
)
NEWS = [
    *(Loaded(), Alive(), Working("making graph 1 of 2"), EngineReady("builtin"), Waiting("no device"), Failed("no device", 3)),
    *(IoReady("null", 48000, None, []), MidiConnections(["Keys 20:0"]), Report(), REPORT),
]


@pytest.mark.parametrize("message", NEWS, ids=lambda m: type(m).__name__)
def test_what_a_child_says_arrives_as_it_was(message: Message) -> None:
    ours, theirs = multiprocessing.Pipe()
    send(theirs, message)
    assert decode_news(ours.recv_bytes()) == message


@pytest.mark.parametrize("message", [Stop(), Go(48000), Go(44100, 0.03, b"\x00\xff", True, -0.5)], ids=lambda m: type(m).__name__)
def test_so_do_orders(message: Message) -> None:
    ours, theirs = multiprocessing.Pipe()
    send(ours, message)
    assert receive_order(theirs) == message


@pytest.mark.parametrize(
    "content", ["stop", {"type": "Halt"}, {"type": "Go"}, {"type": "Go", "sample_rate_hz": "48000"}, {"type": "Alive"}]
)
def test_what_is_no_order_is_refused(content: Any) -> None:
    ours, theirs = multiprocessing.Pipe()
    ours.send_bytes(msgspec.msgpack.encode(content))
    with pytest.raises(msgspec.DecodeError):
        receive_order(theirs)


def test_text_from_outside_can_be_sent() -> None:
    ours, theirs = multiprocessing.Pipe()
    send(theirs, Waiting(utf8("/home/\udcff")))
    assert decode_news(ours.recv_bytes()) == Waiting("/home/\\udcff")


def test_messages_need_no_numpy() -> None:
    code = "import sys, specdiffd.shared.messages; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
