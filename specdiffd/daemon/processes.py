"""Where the children begin. What they run is imported in them, and not in the supervisor."""

from __future__ import annotations

from typing import Any


def run_io(*arguments: Any) -> None:
    """See `io.process.run_io`, whose arguments it takes."""
    from specdiffd.io import process

    process.run_io(*arguments)


def run_engine(*arguments: Any) -> None:
    """See `player.worker.run_engine`, whose arguments it takes."""
    from specdiffd.player import worker

    worker.run_engine(*arguments)
