"""Logging to standard error; under systemd without times, which the journal adds itself."""

from __future__ import annotations

import logging
import os
import sys

SHORT = "%(levelname)s %(name)s: %(message)s"


def set_up_logging(level: str) -> None:
    """Configure the root logger of this process."""
    pattern = SHORT if "JOURNAL_STREAM" in os.environ else f"%(asctime)s {SHORT}"
    logging.basicConfig(level=level.upper(), format=pattern, stream=sys.stderr, force=True)
