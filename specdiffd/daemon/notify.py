"""The service manager's notification protocol (sd_notify(3)): a datagram to $NOTIFY_SOCKET. Does nothing without it."""

from __future__ import annotations

import os
import re
import socket
import time

from specdiffd.base.text import printable

MICROSECONDS = re.compile("[0-9]{1,20}")  # 64 bits; a number of thousands of digits would be an exception


class Notifier:
    """Tells systemd how the service is."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address if address is not None else os.environ.get("NOTIFY_SOCKET", "")
        for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = _seconds(os.environ.get("WATCHDOG_USEC", "")) if for_us else None
        self._petted_s = 0.0

    def ready(self, status: str) -> None:
        """Start-up is finished."""
        self._send(f"READY=1\nSTATUS={printable(status)}")

    def status(self, text: str) -> None:
        """One line about what is going on."""
        self._send(f"STATUS={printable(text)}")

    def stopping(self) -> None:
        """Shutting down."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Alive: call it as often as you like, it is sent four times a watchdog period."""
        now_s = time.monotonic()
        if self.watchdog_s is not None and now_s - self._petted_s >= self.watchdog_s / 4:
            self._petted_s = now_s
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.settimeout(1.0)
                s.connect(address)
                s.sendall(text.encode())
        except (OSError, ValueError):  # the manager is gone or slow, or its address is none: not a reason to stop playing
            return


def _seconds(watchdog_us: str) -> float | None:
    """Of microseconds in digits; None for what the manager would not send, and for none, which is no watchdog."""
    return int(watchdog_us) / 1e6 if MICROSECONDS.fullmatch(watchdog_us) and int(watchdog_us) else None
