"""Termination signals as an event: a loop can look at it, or wait for it."""

from __future__ import annotations

import signal
import threading


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set from now on. They no longer end the process.

    Raises:
        ValueError: the caller is not in the main thread.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
