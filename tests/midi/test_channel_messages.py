"""Every reset that synthesizers know is one, what merely looks like one is not, and of the rest channel messages are used."""

import pytest

from specdiffd.midi.messages import channel_message

RESET = (0xFF, 0, 0)
GM_ON, GM_OFF, GM2_ON = "F0 7E 7F 09 01 F7", "F0 7E 7F 09 02 F7", "F0 7E 7F 09 03 F7"
GS, SC88 = "F0 41 10 42 12 40 00 7F 00 41 F7", "F0 41 10 42 12 00 00 7F 01 00 F7"
XG, XG_ALL = "F0 43 10 4C 00 00 7E 00 F7", "F0 43 10 4C 00 00 7F 00 F7"
RESETS = (GM_ON, GM_OFF, GM2_ON, GS, SC88, XG, XG_ALL)


def message(text: str) -> list[int]:
    return list(bytes.fromhex(text))


@pytest.mark.parametrize("text", [*RESETS, "FF"])
def test_resets_become_one_byte(text: str) -> None:
    assert channel_message(message(text)) == RESET


@pytest.mark.parametrize("device", [0x00, 0x10, 0x7F])
@pytest.mark.parametrize(("text", "place"), [(GM_ON, 2), (GS, 2), (SC88, 2)])
def test_resets_are_for_any_device(text: str, place: int, device: int) -> None:
    changed = message(text)
    changed[place] = device
    assert channel_message(changed) == RESET


@pytest.mark.parametrize("number", range(16))
def test_yamahas_device_numbers_have_four_bits(number: int) -> None:
    changed = message(XG)
    changed[2] = 0x10 | number
    assert channel_message(changed) == RESET
    changed[2] = 0x20 | number  # another kind of message: bulk dump
    assert channel_message(changed) is None


@pytest.mark.parametrize("checksum", [0x00, 0x41, 0x0A, 0x7F])
def test_rolands_checksum_is_not_looked_at(checksum: int) -> None:
    changed = message(GS)
    changed[-2] = checksum  # 0x0A is a line's end, which a pattern may leave out
    assert channel_message(changed) == RESET


@pytest.mark.parametrize("text", RESETS)
def test_a_reset_with_one_other_byte_is_none(text: str) -> None:
    """But for the device's number and the checksum."""
    whole = message(text)
    free = {2} | ({len(whole) - 2} if text in (GS, SC88) else set())
    for place in set(range(1, len(whole) - 1)) - free:
        changed = [*whole]
        changed[place] = (changed[place] + 0x30) % 0x80
        assert channel_message(changed) is None, f"byte {place} may be {changed[place]:#04x}"


@pytest.mark.parametrize("text", RESETS)
def test_a_reset_that_is_cut_off_or_goes_on_is_none(text: str) -> None:
    whole = message(text)
    assert all(channel_message(whole[:size]) is None for size in range(1, len(whole)))
    assert channel_message([*whole[:-1], 0, 0xF7]) is None
    assert channel_message([*whole, 0xF7]) is None


def test_channel_messages_are_themselves() -> None:
    for kind in range(0x80, 0xF0, 0x10):
        for channel in (0, 9, 15):
            assert channel_message([kind | channel, 1, 2]) == (kind | channel, 1, 2)


def test_data_bytes_that_are_missing_are_zero() -> None:
    assert channel_message([0xC3, 5]) == (0xC3, 5, 0)
    assert channel_message([0xC3]) == (0xC3, 0, 0)


@pytest.mark.parametrize("status", [0xF1, 0xF2, 0xF3, 0xF6, 0xF7, 0xF8, 0xFA, 0xFB, 0xFC, 0xFE])
def test_clock_and_other_system_messages_are_left_out(status: int) -> None:
    assert channel_message([status, 0, 0]) is None
