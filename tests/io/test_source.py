import time

import pytest

from specdiffd.io.source import SENSED_FOR_NS, Message, Source


def heard(*pieces: tuple[int, ...]) -> list[tuple[int, int, int]]:
    found: list[Message] = []
    source = Source(found.append)
    for k, piece in enumerate(pieces):
        source.feed(bytes(piece), k)
    return [m[1:] for m in found]


GM_ON = tuple(bytes.fromhex("F07E7F0901F7"))
NOTE = (0x90, 60, 100)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([NOTE], [NOTE]),
        ([(0xC3, 5)], [(0xC3, 5, 0)]),
        ([(0xFF,)], [(0xFF, 0, 0)]),
        ([(0xF8,)], []),
        ([(0xFE,)], []),
        ([GM_ON], [(0xFF, 0, 0)]),
        ([GM_ON[:2], GM_ON[2:5], GM_ON[5:]], [(0xFF, 0, 0)]),  # in several pieces
        ([GM_ON[:3], (0xF8,), GM_ON[3:]], [(0xFF, 0, 0)]),  # with a clock inside
        ([(0xF0, 0x43, 0x10), NOTE, NOTE], [NOTE, NOTE]),  # without an end
        ([(0xF0, 0x43, 0x10, *NOTE)], [NOTE]),  # and as one, as RtMidi hands it on
        ([(0xF0, 0x43, 0x10), (0xF7,), NOTE], [NOTE]),
        ([(0xF0, 0x7E), (0xF0, 0x7E, 0x10, 9, 1, 0xF7)], [(0xFF, 0, 0)]),
        ([(1, 2, 3), NOTE], [NOTE]),
        ([(0xF0, 1, 2, 0xF7)], []),
    ],
)
def test_bytes_become_messages(pieces: list[tuple[int, ...]], expected: list[tuple[int, int, int]]) -> None:
    assert heard(*pieces) == expected


@pytest.mark.parametrize(
    ("sysex", "resets"),
    [
        ("F07E7F0901F7", True),  # GM on, for all devices
        ("F07E000901F7", True),
        ("F07E100902F7", True),  # off
        ("F07E7F0903F7", True),  # GM2
        ("F07E7F0904F7", False),
        ("F04110421240007F0041F7", True),  # GS
        ("F04111421240007F0041F7", True),
        ("F041104212 00007F0001F7", True),
        ("F04110421240011500 2AF7", False),
        ("F043104C00007E00F7", True),  # XG
        ("F0431F4C00007E00F7", True),
        ("F043104C00007F00F7", True),
        ("F043204C00007E00F7", False),
    ],
)
def test_resets_of_any_device_count(sysex: str, resets: bool) -> None:
    assert heard(tuple(bytes.fromhex(sysex))) == ([(0xFF, 0, 0)] if resets else [])


def test_a_sender_that_goes_leaves_nothing_on() -> None:
    found: list[Message] = []
    source = Source(found.append)
    for message in (
        (0x90, 60, 100),
        (0x93, 64, 1),
        (0x90, 62, 100),
        (0x80, 62, 0),
        (0xB3, 64, 127),
        (0xB0, 64, 127),
        (0xB0, 64, 0),
        (0xB1, 7, 3),
    ):
        source.feed(bytes(message), 0)
    found.clear()
    before = time.monotonic_ns()
    source.release()
    assert [m[1:] for m in found] == [(0x80, 60, 0), (0x83, 64, 0), (0xB3, 64, 0)]
    assert all(m.time_ns >= before for m in found)
    source.release()
    assert len(found) == 3


def test_active_sensing_that_stops_lets_go() -> None:
    found: list[Message] = []
    source = Source(found.append)
    source.feed(bytes(NOTE), 0)
    source.check(10 * SENSED_FOR_NS)
    assert not source.senses  # who has never sent it need not send anything
    at = time.monotonic_ns()
    for k in range(10):
        source.feed(b"\xfe", at + k * SENSED_FOR_NS // 2)
        source.check(at + k * SENSED_FOR_NS // 2 + SENSED_FOR_NS // 3)
    assert len(found) == 1
    last = at + 9 * SENSED_FOR_NS // 2
    source.feed(b"\x90\x40\x40", last + 1)  # anything else counts, too
    source.check(last + SENSED_FOR_NS)
    assert len(found) == 2
    source.check(last + 2 + SENSED_FOR_NS)
    assert [m[1:] for m in found[2:]] == [(0x80, 60, 0), (0x80, 64, 0)]
    assert not source.senses
