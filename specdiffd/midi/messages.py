"""Which MIDI messages reach an instrument, from a port or from a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from specdiffd.base.messages import SYSEX, SYSTEM_RESET

# System exclusive messages that reset everything to its state after power-up, for any device number: General MIDI 1 and 2 on and off, GS
# reset, SC-88 mode set, XG on, XG all parameters reset. The checksum of Roland's messages is ignored, as in other synthesizers.
_RESET = re.compile(
    rb"\xf0(?:\x7e[\0-\x7f]\x09[\x01-\x03]|\x41[\0-\x7f]\x42\x12(?:\x40\0\x7f\0|\0\0\x7f[\0\x01])[\0-\x7f]|\x43[\x10-\x1f]\x4c\0\0[\x7e\x7f]\0)\xf7",
    re.DOTALL,
)


def channel_message(message: Sequence[int]) -> tuple[int, int, int] | None:
    """Status and two data bytes of a whole message; None if no instrument uses it (clock, most system messages).

    Every reset becomes the one byte 0xFF.
    """
    status = message[0]
    if 0x80 <= status < SYSEX:
        return status, message[1] if len(message) > 1 else 0, message[2] if len(message) > 2 else 0
    if status == SYSTEM_RESET or (status == SYSEX and _RESET.fullmatch(bytes(message))):
        return SYSTEM_RESET, 0, 0
    return None
