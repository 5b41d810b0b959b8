"""Which MIDI messages an instrument has a use for, whether they come from a port or from a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from specdiffd.base.messages import SYSEX, SYSTEM_RESET

# General MIDI 1 and 2 on, and off, for any device; GS reset and SC-88 mode set, and XG on and all parameters reset, for any device.
# All of them mean "as after power-up". The checksum of Roland's messages is not looked at: other synthesizers do not, either.
_RESET = re.compile(
    rb"\xf0(?:\x7e[\0-\x7f]\x09[\x01-\x03]|\x41[\0-\x7f]\x42\x12(?:\x40\0\x7f\0|\0\0\x7f[\0\x01])[\0-\x7f]|\x43[\x10-\x1f]\x4c\0\0[\x7e\x7f]\0)\xf7",
    re.DOTALL,
)


def channel_message(message: Sequence[int]) -> tuple[int, int, int] | None:
    """Status and two data bytes of a whole message; None: an instrument has no use for it (clock, most system messages).

    Every reset becomes the one byte 0xFF.
    """
    status = message[0]
    if 0x80 <= status < SYSEX:
        return status, message[1] if len(message) > 1 else 0, message[2] if len(message) > 2 else 0
    if status == SYSTEM_RESET or (status == SYSEX and _RESET.fullmatch(bytes(message))):
        return SYSTEM_RESET, 0, 0
    return None
