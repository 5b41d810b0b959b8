"""Names of MIDI ports: which of them are to be connected to."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from specdiffd.base.config import MidiConfig


def wanted(names: Iterable[str], config: MidiConfig) -> list[str]:
    """Of the ports that are there those that ``midi.connect`` names; never our own."""
    others = (name for name in names if not name.startswith(config.client_name))
    return [name for name in others if any(matches(strip_number(name), pattern) for pattern in config.connect)]


def matches(name: str, pattern: str) -> bool:
    """A shell pattern, or a part of the name; case does not matter."""
    name, pattern = name.lower(), pattern.lower()
    return pattern in name or fnmatch.fnmatch(name, pattern)


def strip_number(name: str) -> str:
    """An ALSA port name without the numbers that change at every plug-in ("KeyLab 20:0" -> "KeyLab")."""
    head, _, tail = name.rpartition(" ")
    return head if head and all(part.isdigit() for part in tail.split(":")) and ":" in tail else name
