"""The I/O process: stamps MIDI, plays the timeline. Started and stopped by the supervisor; never imports torch."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection

from specdiffd.config import Config
from specdiffd.errors import SpecdiffdError
from specdiffd.io.output import open_sink
from specdiffd.io.ports import Message, open_ports
from specdiffd.io.ring import BelledRing
from specdiffd.io.shared import SharedBlock
from specdiffd.logs import set_up_logging
from specdiffd.priority import keep_memory, real_time

log = logging.getLogger(__name__)
POLL_S = 0.2
REFRESH_S = 1.0  # MIDI ports that came or went


def run_io(shared: SharedBlock, config: Config, supervisor: Connection, bell: Connection) -> None:
    """Main function of the process: until the supervisor says stop, or is gone.

    Sends ("ready", {...}) once, or ("failed", (text, exit code)); then ("midi", [names]) when connections change.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the whole group; the supervisor decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    set_up_logging(config.logging.level)
    try:
        with ExitStack() as stack:
            try:
                _serve(shared, config, supervisor, bell, stack)
            except SpecdiffdError as error:
                supervisor.send(("failed", (str(error), error.exit_code)))
                os._exit(error.exit_code)  # closing the clients of a server that is gone can take for ever
    except (EOFError, BrokenPipeError):
        log.warning("the supervisor is gone, stopping")


def _serve(shared: SharedBlock, config: Config, supervisor: Connection, bell: Connection, stack: ExitStack) -> None:
    queue = BelledRing(shared.live_events, bell)

    def receive(message: Message) -> None:
        queue.put(*message)

    for sentence in (keep_memory(), real_time()):
        log.info("%s", sentence)
    sink = open_sink(shared, config.audio)
    stack.callback(sink.stop)
    ports = open_ports(config.midi, receive)
    if ports is not None:
        stack.callback(ports.close)
        ports.refresh()
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would hold up the callback
    sink.start()
    supervisor.send(
        ("ready", {"audio": sink.description, "midi": ports.api_name if ports else None, "connected": ports.connected if ports else []})
    )
    header = shared.timeline.header
    refreshed_s = 0.0
    while True:
        header.io_alive_ns = time.monotonic_ns()
        if supervisor.poll(POLL_S) and supervisor.recv() == "stop":
            return
        sink.check()
        if ports is not None and time.monotonic() - refreshed_s > REFRESH_S:
            refreshed_s = time.monotonic()
            before = ports.connected
            ports.refresh()
            if ports.connected != before:
                supervisor.send(("midi", ports.connected))
