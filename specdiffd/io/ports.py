"""MIDI input ports: a virtual one, connections to others by name pattern, stamps taken first thing in the callback."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import rtmidi

from specdiffd.base.config import MidiConfig, check_config
from specdiffd.base.errors import DeviceError
from specdiffd.io.jack_ports import JackPorts
from specdiffd.io.names import wanted
from specdiffd.io.source import Receiver, Source

log = logging.getLogger(__name__)

# By RtMidi; JACK has its own way (`jack_ports`).
APIS = {"alsa": rtmidi.API_LINUX_ALSA, "coreaudio": rtmidi.API_MACOSX_CORE, "winmm": rtmidi.API_WINDOWS_MM}
ALSA_CLIENTS = Path("/proc/asound/seq/clients")


class Ports(Protocol):
    """The inputs of one MIDI client, whatever carries them."""

    api_name: str
    changed: threading.Event  # set when ``refresh`` should be called soon

    @property
    def connected(self) -> list[str]:
        """Names of the ports connected to."""

    def names(self) -> list[str]:
        """All ports that could be connected to."""

    def refresh(self) -> None:
        """Let go of ports that went, connect to those that match and are new: call it about once a second."""

    def check(self, now_ns: int) -> bool:
        """Look after active sensing; returns whether some sender needs that to be done often."""

    def close(self) -> None:
        """Close every port."""


class RtMidiPorts:
    """The inputs of one RtMidi client. Callbacks run in a thread of RtMidi's for each input.

    Raises:
        DeviceError: the back end does not work.
    """

    def __init__(self, config: MidiConfig, api: int, receiver: Receiver) -> None:
        self._config, self._api, self._receiver = config, api, receiver
        self.api_name = str(rtmidi.get_api_display_name(api))
        self.changed = threading.Event()  # RtMidi never says so
        self._inputs: dict[str, tuple[Any, Source]] = {}
        self._own = Source(receiver)
        self._refused: set[str] = set()
        self._there: list[str] = []  # when we last looked
        try:
            self._watcher = rtmidi.MidiIn(api, name=config.client_name)
        except Exception as error:
            raise DeviceError(f"MIDI back end {rtmidi.get_api_name(api)}: {error}") from error
        if config.virtual_port:
            self._listen(self._watcher, self._own)
            self._watcher.open_virtual_port(config.client_name)
            self._lister = rtmidi.MidiIn(api, name=f"{config.client_name} ports") if config.connect else self._watcher
        else:
            self._lister = self._watcher

    @property
    def connected(self) -> list[str]:
        """Names of the ports connected to."""
        return list(self._inputs)

    def names(self) -> list[str]:
        """All ports that could be connected to."""
        return [str(name) for name in self._lister.get_ports()]

    def refresh(self) -> None:
        """Let go of ports that went, connect to those that match and are new; by their whole names, so that two of one kind are two."""
        if not self._config.connect:
            return
        there = self.names()
        if there != self._there:
            self._there = there
            log.debug("MIDI ports there: %s", ", ".join(map(repr, there)) or "none")
        cut = unsubscribed(self._inputs) if self._api == APIS["alsa"] else set()
        for name in [name for name in self._inputs if name not in there or name in cut]:
            log.info("MIDI port %r went away", name)
            self._drop(name)
        for name in wanted(there, self._config):
            if name not in self._inputs:
                self._connect(name)

    def check(self, now_ns: int) -> bool:
        """Look after active sensing; returns whether some sender needs that to be done often."""
        sources = [self._own, *(source for _, source in self._inputs.values())]
        for source in sources:
            source.check(now_ns)
        return any(source.senses for source in sources)

    def close(self) -> None:
        """Close every port."""
        own = [self._watcher] if self._lister is self._watcher else [self._watcher, self._lister]
        for port in (*(port for port, _ in self._inputs.values()), *own):
            _close(port)
        self._inputs.clear()

    def _connect(self, name: str) -> None:
        """A port may have vanished since it was listed, or be in use: it is tried again at the next refresh, and that said once."""
        port = rtmidi.MidiIn(self._api, name=self._config.client_name)
        source = Source(self._receiver)
        try:
            port.open_port(port.get_ports().index(name), "in")
        except Exception as error:  # RtMidi's own, or none of that name
            if name not in self._refused:
                log.info("MIDI port %r cannot be connected now: %s", name, error)
            self._refused.add(name)
            _close(port)
            return
        self._listen(port, source)
        self._refused.discard(name)
        self._inputs[name] = (port, source)
        log.info("MIDI port %r connected", name)

    def _drop(self, name: str) -> None:
        port, source = self._inputs.pop(name)
        _close(port)
        source.release()

    @staticmethod
    def _listen(port: Any, source: Source) -> None:
        def on_message(event: tuple[Sequence[int], float], data: object = None) -> None:
            now_ns = time.monotonic_ns()
            source.feed(bytes(event[0]), now_ns)

        port.ignore_types(sysex=False, timing=True, active_sense=False)
        port.set_callback(on_message)


def _close(port: Any) -> None:
    port.cancel_callback()
    port.close_port()
    port.delete()


def unsubscribed(names: Sequence[str] | dict[str, Any], clients: str | None = None) -> set[str]:
    """Of the ALSA ports of these names those that are connected to nothing any more: unplugged, and plugged in again at once.

    Args:
        names: each ends in its numbers, "KeyLab:KeyLab MIDI 20:0".
        clients: what the kernel tells of its sequencer; None: look.
    """
    if clients is None:
        if not ALSA_CLIENTS.exists():
            return set()
        clients = ALSA_CLIENTS.read_text(encoding="utf-8", errors="replace")
    subscribed, client, port = set(), "", ""
    for line in clients.splitlines():
        words = line.split()
        if line.startswith("Client ") and len(words) > 1:
            client = words[1]
        elif line.startswith("  Port ") and len(words) > 1:
            port = words[1]
        elif words[:2] == ["Connecting", "To:"]:
            subscribed.add(f"{client}:{port}")
    return {name for name in names if name.rpartition(" ")[2] not in subscribed}


def open_ports(config: MidiConfig, receiver: Receiver) -> Ports | None:
    """Ports on the configured back end; with ``auto`` on the first that works, None (and a warning) if there is none.

    Raises:
        DeviceError: the configured back end does not work.
    """
    if config.api == "none":
        return None
    if config.api != "auto":
        return _opener(config.api)(config, receiver)
    problems = []
    for name in (*(n for n, api in APIS.items() if api in rtmidi.get_compiled_api()), "jack"):
        try:
            return _opener(name)(config, receiver)
        except DeviceError as error:
            problems.append(str(error))
    log.warning("no MIDI back end works, notes can only come over the control socket (%s)", "; ".join(problems))
    return None


def _opener(name: str) -> Callable[[MidiConfig, Receiver], Ports]:
    if name == "jack":
        return JackPorts
    if APIS[name] not in rtmidi.get_compiled_api():
        there = [*(n for n, api in APIS.items() if api in rtmidi.get_compiled_api()), "jack"]
        raise DeviceError(f"midi.api {name} is not available on {sys.platform}; there: {', '.join(there)}")
    return lambda config, receiver: RtMidiPorts(config, int(APIS[name]), receiver)


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
        return found.names()
    finally:
        found.close()
