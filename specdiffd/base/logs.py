"""Logging to standard error; under systemd without times, since the journal adds them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time

from specdiffd.base.text import printable

SHORT = "%(levelname)s %(name)s: %(message)s"
OURS = __name__.partition(".")[0]


def set_up_logging(level: str) -> None:
    """Log this package's records from ``level`` on, those of libraries from warnings on: Numba logs 900 kB while it compiles."""
    pattern = SHORT if "JOURNAL_STREAM" in os.environ else f"%(asctime)s {SHORT}"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter(pattern))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    ours = logging.getLogger(OURS)
    ours.setLevel(level.upper())
    logging.getLogger().setLevel(max(ours.level, logging.WARNING))


class PrintableFormatter(logging.Formatter):
    """Writes a record as one line, whatever it quotes. A traceback follows indented, so that no text in it can pass for a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record's own line."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: logging._SysExcInfoType) -> str:
        """The traceback's lines."""
        return "\n".join(f"    {printable(line)}" for line in super().formatException(ei).splitlines())


class Seldom:
    """Logs errors that outsiders can cause as often as they like: at most one in ``period_s`` seconds, with the number left out."""

    def __init__(self, log: logging.Logger, period_s: float = 10.0) -> None:
        self._log, self._period_s = log, period_s
        self._logged_s, self._left_out = -period_s, 0

    def error(self, text: str, error: BaseException | None = None) -> None:
        """Log ``text``, with the traceback of ``error``. It raises nothing, since its callers are handling an error already."""
        now_s = time.monotonic()
        if now_s - self._logged_s < self._period_s:
            self._left_out += 1
            return
        more = f" ({self._left_out} more since the last time)" if self._left_out else ""
        self._logged_s, self._left_out = now_s, 0
        with contextlib.suppress(Exception):
            self._log.error("%s%s", text, more, exc_info=error)
