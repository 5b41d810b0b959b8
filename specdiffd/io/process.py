"""The I/O process: stamps MIDI, plays the timeline. Started and stopped by the supervisor; never imports torch."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from typing import NoReturn

from specdiffd.base.config import Config
from specdiffd.base.errors import DeviceError, SpecdiffdError
from specdiffd.base.logs import set_up_logging
from specdiffd.base.priority import keep_memory, real_time
from specdiffd.base.text import told
from specdiffd.io.devices import look_again
from specdiffd.io.ports import Ports, open_ports
from specdiffd.io.sinks import Sink, open_sink
from specdiffd.io.source import Message
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.messages import Alive, Failed, IoReady, MidiConnections, Stop, Waiting, receive_order, send, utf8
from specdiffd.shared.ring import BelledRing

log = logging.getLogger(__name__)
POLL_S, SENSING_POLL_S = 0.2, 0.05
REFRESH_S = 1.0  # MIDI ports that came or went
PAUSE_S, LONGEST_PAUSE_S, LONGER = 0.25, 15.0, 1.5  # between two looks for an audio device, each longer than the one before
ALIVE_S = 1.0
FADE_S = 0.1


def run_io(shared: SharedBlock, config: Config, supervisor: Connection, bell: Connection, wait: bool) -> None:
    """Main function of the process: until the supervisor says stop, or is gone.

    Sends ``IoReady`` once, or ``Failed``; then ``MidiConnections`` when they change.

    Args:
        wait: where there is no audio device, send ``Waiting`` once, then ``Alive`` every second, until one comes.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the terminal sends them to the whole group; the supervisor decides
    set_up_logging(config.logging.level)
    log.debug("process %d", os.getpid())
    with ExitStack() as stack:
        try:
            _serve(shared, config, supervisor, bell, wait, stack)
        except SpecdiffdError as error:
            _fail(supervisor, str(error), error.exit_code)
        except (EOFError, BrokenPipeError):
            log.warning("the supervisor is gone, stopping")
            shared.timeline.header.running = 0
            time.sleep(FADE_S)  # the stream must run on for the fade to be heard
        except Exception as error:
            log.exception("input and output failed")
            _fail(supervisor, f"input and output failed: {type(error).__name__}: {told(error)}", 1)


def _fail(supervisor: Connection, problem: str, exit_code: int) -> NoReturn:
    """End at once: closing the clients of a server that is gone can take for ever."""
    with suppress(OSError):
        send(supervisor, Failed(utf8(problem), exit_code))
    os._exit(exit_code)


def _serve(shared: SharedBlock, config: Config, supervisor: Connection, bell: Connection, wait: bool, stack: ExitStack) -> None:
    queue = BelledRing(shared.live_events, bell)

    def receive(message: Message) -> None:
        queue.put(*message)

    for sentence in (keep_memory(), real_time()):
        log.info("%s", sentence)
    sink = _sink(shared, config, supervisor, wait)
    if sink is None:
        return
    stack.callback(sink.stop)
    ports = open_ports(config.midi, receive)
    if ports is not None:
        stack.callback(ports.close)
        ports.refresh()
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would hold up the callback
    sink.start()
    midi, connected = (ports.api_name, ports.connected) if ports else (None, [])
    send(supervisor, IoReady(utf8(sink.description), sink.sample_rate_hz, midi, [*map(utf8, connected)]))
    _loop(shared, supervisor, queue, sink, ports)


def _loop(shared: SharedBlock, supervisor: Connection, queue: BelledRing, sink: Sink, ports: Ports | None) -> None:
    """Until the supervisor says stop."""
    header, refreshed_s, senses = shared.timeline.header, time.monotonic(), False
    while True:
        header.io_alive_ns = time.monotonic_ns()
        if supervisor.poll(SENSING_POLL_S if senses else POLL_S) and isinstance(receive_order(supervisor), Stop):
            return
        sink.check()
        queue.flush()
        if ports is None:
            continue
        senses = ports.check(time.monotonic_ns())
        if ports.changed.is_set() or time.monotonic() - refreshed_s > REFRESH_S:
            refreshed_s, before = time.monotonic(), ports.connected
            ports.refresh()
            if ports.connected != before:
                send(supervisor, MidiConnections([*map(utf8, ports.connected)]))


def _sink(shared: SharedBlock, config: Config, supervisor: Connection, wait: bool) -> Sink | None:
    """Somewhere to play to, looked for until there is one; None: we are told to stop.

    Raises:
        DeviceError: there is none, and it is not waited for.
    """
    pause_s, said = PAUSE_S, ""
    while True:
        try:
            with look_again(said != ""):
                return open_sink(shared, config.audio)
        except DeviceError as error:
            if not wait:
                raise
            if not said:
                send(supervisor, Waiting(utf8(str(error))))
            said = str(error)
        until_s = time.monotonic() + pause_s
        pause_s = min(LONGEST_PAUSE_S, LONGER * pause_s)
        while (left_s := until_s - time.monotonic()) > 0:
            send(supervisor, Alive())
            if supervisor.poll(min(left_s, ALIVE_S)) and isinstance(receive_order(supervisor), Stop):
                return None
