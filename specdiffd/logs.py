"""Logging to standard error; under systemd without times, which the journal adds itself."""

from __future__ import annotations

import logging
import os
import sys

SHORT = "%(levelname)s %(name)s: %(message)s"


OURS = __name__.partition(".")[0]


def set_up_logging(level: str) -> None:
    """Log what this package says from ``level`` on, what libraries say from warnings on: Numba alone says 900 kB while it compiles."""
    pattern = SHORT if "JOURNAL_STREAM" in os.environ else f"%(asctime)s {SHORT}"
    logging.basicConfig(level=level.upper(), format=pattern, stream=sys.stderr, force=True)
    ours = logging.getLogger(OURS)
    ours.setLevel(level.upper())
    logging.getLogger().setLevel(max(ours.level, logging.WARNING))
