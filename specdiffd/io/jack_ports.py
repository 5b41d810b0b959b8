"""MIDI input from a JACK graph.

Not by RtMidi, which takes all that follows an unfinished system exclusive message for its continuation, of all senders and for ever; and
whose wheel brings a JACK library that knows jackd only, not PipeWire.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from specdiffd.base.config import MidiConfig
from specdiffd.base.errors import DeviceError
from specdiffd.io.names import wanted
from specdiffd.io.source import Receiver, Source

log = logging.getLogger(__name__)
REOPEN_S = 2.0  # from one try to find a server that went away to the next


def import_jack() -> Any:
    """The jack module, which speaks to the system's JACK library.

    Raises:
        DeviceError: there is none.
    """
    try:
        import jack
    except OSError as error:
        raise DeviceError(f"JACK is not installed ({error}): apt-get install libjack-jackd2-0") from error
    jack.set_error_function(log.debug)
    jack.set_info_function(log.debug)
    return jack


class JackPorts:
    """A port of our own, and one for each port connected to, so that it is known whose notes to end when one goes.

    Raises:
        DeviceError: there is no server.
    """

    api_name = "Jack"

    def __init__(self, config: MidiConfig, receiver: Receiver) -> None:
        self._config, self._receiver, self._jack = config, receiver, import_jack()
        self.changed = threading.Event()
        self._own: list[tuple[Any, Source]] = []  # the port that others connect to, if there is to be one
        self._inputs: dict[str, tuple[Any, Source]] = {}  # by the name of the port connected to
        self._gone: deque[str] = deque(maxlen=256)  # ports that were disconnected from ours
        self._listened: Sequence[tuple[Any, Source]] = ()
        self._open()

    @property
    def connected(self) -> list[str]:
        """Names of the ports connected to."""
        return list(self._inputs)

    def names(self) -> list[str]:
        """All ports that could be connected to."""
        return [port.name for port in self._client.get_ports(is_midi=True, is_output=True)]

    def refresh(self) -> None:
        """Let go of ports that went, connect to those that match and are new; call it now and then, and when ``changed`` is set."""
        self.changed.clear()
        if self._client is None:
            self._reopen()
            return
        self._forget_gone()
        if not self._config.connect:
            return
        for name in wanted(self.names(), self._config):
            if name not in self._inputs:
                self._connect(name)

    def check(self, now_ns: int) -> bool:
        """Look after active sensing; returns whether some sender needs that to be done often."""
        sources = [source for _, source in self._listened]
        for source in sources:
            source.check(now_ns)
        return any(source.senses for source in sources)

    def close(self) -> None:
        """Leave the graph."""
        if self._client is not None:
            self._client.deactivate()
            self._client.close()

    # -- the client ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self._client = self._jack.Client(self._config.client_name, no_start_server=True)
        except self._jack.JackError as error:
            raise DeviceError("MIDI back end JACK: no server runs") from error
        self._client.set_process_callback(self._process)
        self._client.set_port_registration_callback(lambda *_: self.changed.set())
        self._client.set_port_connect_callback(self._on_connect)
        self._client.set_shutdown_callback(self._on_shutdown)
        self._own = [self._listen(self._config.client_name)] if self._config.virtual_port else []
        self._client.activate()
        self._client.get_ports()  # JACK 1: or else it does not tell of those that were there before us
        self._opened_s = time.monotonic()

    def _listen(self, name: str) -> tuple[Any, Source]:
        port = self._client.midi_inports.register(name)
        source = Source(self._receiver)
        self._listened = (*self._listened, (port, source))
        return port, source

    def _process(self, frames: int) -> None:
        now_ns = time.monotonic_ns()
        for port, source in self._listened:
            for _, data in port.incoming_midi_events():
                source.feed(bytes(data), now_ns)

    def _on_connect(self, a: Any, b: Any, connect: bool) -> None:
        """In a thread of JACK's, which may not call it."""
        ours = f"{self._config.client_name}:"
        if not connect and a is not None and b is not None and b.name.startswith(ours):
            self._gone.append(a.name)
        self.changed.set()

    def _on_shutdown(self, status: Any, reason: str) -> None:
        self._client = None
        self.changed.set()

    def _reopen(self) -> None:
        """The server is gone: so are all senders. Its client is left as it is, closing it may take for ever."""
        for _, source in self._listened:
            source.release()
        self._own, self._inputs, self._listened = [], {}, ()
        if time.monotonic() - self._opened_s < REOPEN_S:
            return
        self._opened_s = time.monotonic()
        try:
            self._open()
            log.info("MIDI is connected to a JACK server again")
        except DeviceError as error:
            log.debug("%s", error)

    # -- connections ---------------------------------------------------------------------------------------------

    def _connect(self, name: str) -> None:
        port, source = self._listen(f"in {len(self._inputs) + 1} {name.replace(':', ' ')}"[:60])
        self._inputs[name] = (port, source)
        try:
            self._client.connect(name, port)
            log.info("MIDI port %r connected", name)
        except self._jack.JackError as error:
            log.info("MIDI port %r cannot be connected: %s", name, error)
            self._drop(name)

    def _forget_gone(self) -> None:
        while self._gone:
            name = self._gone.popleft()
            if name in self._inputs:
                log.info("MIDI port %r went away", name)
                self._drop(name)
        for port, source in self._own:
            if not port.connections:
                source.release()  # nobody is there any more

    def _drop(self, name: str) -> None:
        port, source = self._inputs.pop(name)
        self._listened = tuple(pair for pair in self._listened if pair[0] is not port)
        source.release()
        port.unregister()
