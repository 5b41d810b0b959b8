"""Reports to the supervisor that nobody waits for."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection
from typing import Any

MOST_ROWS = 256  # of a list in a report: the newest are kept


class Outbox:
    """Sends reports from a thread of its own: a supervisor that does not read holds nothing up.

    Reports that wait are merged: values are replaced, lists go on, to the last ``MOST_ROWS``.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._waiting, self._changed = pipe, dict[str, Any](), threading.Condition()
        threading.Thread(target=self._run, name="outbox", daemon=True).start()

    def put(self, report: dict[str, Any]) -> None:
        """Send it soon."""
        with self._changed:
            for key, value in report.items():
                earlier = self._waiting.get(key)
                self._waiting[key] = (earlier + value)[-MOST_ROWS:] if isinstance(value, list) and isinstance(earlier, list) else value
            self._changed.notify()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting)
                    report, self._waiting = self._waiting, {}
                self._pipe.send(("report", report))
        except OSError:
            return  # the supervisor is gone: whoever listens to it learns that, too
