"""MIDI input ports: a virtual one, connections to others by name pattern, stamps taken first thing in the callback."""

from __future__ import annotations

import fnmatch
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import rtmidi

from specdiffd.config import MidiConfig, check_config
from specdiffd.errors import DeviceError
from specdiffd.events import SYSTEM_RESET

log = logging.getLogger(__name__)

APIS = {"alsa": rtmidi.API_LINUX_ALSA, "jack": rtmidi.API_UNIX_JACK, "coreaudio": rtmidi.API_MACOSX_CORE, "winmm": rtmidi.API_WINDOWS_MM}
# GM on, GM2 on, GS reset, XG on: all mean "as after power-up".
RESETS = (
    bytes.fromhex("F07E7F0901F7"),
    bytes.fromhex("F07E7F0903F7"),
    bytes.fromhex("F04110421240007F0041F7"),
    bytes.fromhex("F043104C00007E00F7"),
)


class Message(NamedTuple):
    """A stamped message, three bytes at most."""

    time_ns: int
    status: int
    data1: int
    data2: int


Receiver = Callable[[Message], None]


def decode(message: Sequence[int], time_ns: int) -> Message | None:
    """A message that an instrument has a use for; None for clock, active sensing and other system messages."""
    status = message[0]
    if status < 0xF0:
        return Message(time_ns, status, message[1] if len(message) > 1 else 0, message[2] if len(message) > 2 else 0)
    if status == SYSTEM_RESET or (status == 0xF0 and bytes(message) in RESETS):
        return Message(time_ns, SYSTEM_RESET, 0, 0)
    return None


class MidiPorts:
    """The inputs of one MIDI client. Callbacks run in RtMidi's own thread.

    Raises:
        DeviceError: the back end asked for is not there (with ``api: auto`` and none at all: see ``open_ports``).
    """

    def __init__(self, config: MidiConfig, api: int, receiver: Receiver) -> None:
        self._config, self._api, self._receiver = config, api, receiver
        self._inputs: dict[str, Any] = {}
        try:
            self._watcher = rtmidi.MidiIn(api, name=config.client_name)
        except Exception as error:
            raise DeviceError(f"MIDI back end {rtmidi.get_api_name(api)}: {error}") from error
        if config.virtual_port:
            self._listen(self._watcher)
            self._watcher.open_virtual_port(config.client_name)
            self._lister = rtmidi.MidiIn(api, name=f"{config.client_name} ports") if config.connect else self._watcher
        else:
            self._lister = self._watcher

    @property
    def api_name(self) -> str:
        """Name of the back end."""
        return str(rtmidi.get_api_display_name(self._api))

    @property
    def connected(self) -> list[str]:
        """Names of the ports connected to."""
        return list(self._inputs)

    def refresh(self) -> None:
        """Connect to ports that match and are new, let go of those that went: call it about once a second."""
        if not self._config.connect:
            return
        there = {strip_number(name): name for name in self._lister.get_ports()}
        for gone in [name for name in self._inputs if name not in there]:
            log.info("MIDI port %s went away", gone)
            self._inputs.pop(gone).close_port()
        for name, full in there.items():
            own = name.startswith(self._config.client_name)
            if name in self._inputs or own or not any(matches(name, pattern) for pattern in self._config.connect):
                continue
            source = rtmidi.MidiIn(self._api, name=self._config.client_name)
            self._listen(source)
            source.open_port(self._lister.get_ports().index(full), "in")
            self._inputs[name] = source
            log.info("MIDI port %s connected", name)

    def close(self) -> None:
        """Close every port."""
        own = [self._watcher] if self._lister is self._watcher else [self._watcher, self._lister]
        for source in (*self._inputs.values(), *own):
            source.cancel_callback()
            source.close_port()
            source.delete()
        self._inputs.clear()

    def _listen(self, source: Any) -> None:
        source.ignore_types(sysex=False, timing=True, active_sense=True)
        source.set_callback(self._on_message)

    def _on_message(self, event: tuple[Sequence[int], float], data: object = None) -> None:
        now = time.monotonic_ns()
        message = decode(event[0], now)
        if message is not None:
            self._receiver(message)


def open_ports(config: MidiConfig, receiver: Receiver) -> MidiPorts | None:
    """Ports on the configured back end; with ``auto`` on the first that works, None (and a warning) if there is none.

    Raises:
        DeviceError: the configured back end does not work.
    """
    if config.api == "none":
        return None
    if config.api != "auto":
        return MidiPorts(config, _compiled(config.api), receiver)
    problems = []
    for api in rtmidi.get_compiled_api():
        if api in APIS.values():
            try:
                return MidiPorts(config, api, receiver)
            except DeviceError as error:
                problems.append(str(error))
    log.warning("no MIDI back end works, notes can only come over the control socket (%s)", "; ".join(problems))
    return None


def list_ports(api: str) -> list[str]:
    """Names of the ports that could be connected to.

    Raises:
        ConfigError: there is no such back end.
        DeviceError: it does not work.
    """
    config = check_config({"midi": {"api": api, "client_name": "specdiffd-list", "virtual_port": False}}, "--api").midi
    found = open_ports(config, lambda message: None)
    if found is None:
        return []
    try:
        return found._lister.get_ports()
    finally:
        found.close()


def _compiled(name: str) -> int:
    if APIS[name] not in rtmidi.get_compiled_api():
        there = [n for n, api in APIS.items() if api in rtmidi.get_compiled_api()]
        raise DeviceError(f"midi.api {name} is not available on {sys.platform}; there: {', '.join(there)}")
    return int(APIS[name])


def matches(name: str, pattern: str) -> bool:
    """A shell pattern, or a part of the name; case does not matter."""
    name, pattern = name.lower(), pattern.lower()
    return pattern in name or fnmatch.fnmatch(name, pattern)


def strip_number(name: str) -> str:
    """An ALSA port name without the numbers that change at every plug-in ("KeyLab 20:0" -> "KeyLab")."""
    head, _, tail = name.rpartition(" ")
    return head if head and all(part.isdigit() for part in tail.split(":")) and ":" in tail else name
