"""Reports to the supervisor that nobody waits for."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection

import msgspec

from specdiffd.shared.messages import Report, send

MOST_ROWS = 256  # latencies, and MIDI messages, of a report: more, and a supervisor that stands still for long fills our memory


class Outbox:
    """Sends reports from its own thread: a supervisor that does not read holds nothing up. Reports that wait become one."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._changed = pipe, threading.Condition()
        self._waiting: Report | None = None
        threading.Thread(target=self._run, name="outbox", daemon=True).start()

    def put(self, report: Report) -> None:
        """Send it soon."""
        with self._changed:
            self._waiting = report if self._waiting is None else merged(self._waiting, report)
            self._changed.notify()

    def _run(self) -> None:
        try:
            while True:
                send(self._pipe, self._next())
        except OSError:
            return  # the supervisor is gone, and the main thread learns that too

    def _next(self) -> Report:
        with self._changed:
            while self._waiting is None:
                self._changed.wait()
            report, self._waiting = self._waiting, None
            return report


def merged(earlier: Report, later: Report) -> Report:
    """Two reports as one: the later one's, with the newest ``MOST_ROWS`` rows of both, and the earlier snapshot if there is no later one."""
    return msgspec.structs.replace(
        later,
        latencies=(earlier.latencies + later.latencies)[-MOST_ROWS:],
        midi=(earlier.midi + later.midi)[-MOST_ROWS:],
        snapshot=earlier.snapshot if later.snapshot is None else later.snapshot,
    )
