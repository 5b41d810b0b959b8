import pytest

from specdiffd.io.ports import Message, decode, matches, strip_number


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ([0x90, 60, 100], (0x90, 60, 100)),
        ([0xC3, 5], (0xC3, 5, 0)),
        ([0xFF], (0xFF, 0, 0)),
        ([0xF8], None),
        ([0xFE], None),
        (list(bytes.fromhex("F07E7F0901F7")), (0xFF, 0, 0)),
        (list(bytes.fromhex("F04110421240007F0041F7")), (0xFF, 0, 0)),
        (list(bytes.fromhex("F043104C00007E00F7")), (0xFF, 0, 0)),
        ([0xF0, 1, 2, 0xF7], None),
    ],
)
def test_messages_are_sorted_out(message: list[int], expected: tuple[int, int, int] | None) -> None:
    assert decode(message, 7) == (None if expected is None else Message(7, *expected))


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("KeyLab 61:KeyLab 61 MIDI 20:0", "keylab", True),
        ("USB Keystation", "usb*", True),
        ("Midi Through", "KeyLab", False),
        ("A", "?", True),
    ],
)
def test_names_are_matched_not_numbers(name: str, pattern: str, fits: bool) -> None:
    assert matches(name, pattern) is fits


@pytest.mark.parametrize(
    ("name", "stripped"),
    [("KeyLab:KeyLab MIDI 20:0", "KeyLab:KeyLab MIDI"), ("KeyLab 61", "KeyLab 61"), ("128:0", "128:0"), ("x 1:y", "x 1:y")],
)
def test_changing_numbers_are_stripped(name: str, stripped: str) -> None:
    assert strip_number(name) == stripped
