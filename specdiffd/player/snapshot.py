"""What another engine needs to go on after this one has died."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from specdiffd.player.engine import Engine
from specdiffd.shared.ring import EventRing


def take_snapshot(engine: Engine, rings: Sequence[EventRing]) -> bytes:
    """The engine's scores, how far each ring has been read, and from where on the timeline does not match the scores; pickled."""
    return pickle.dumps((engine.scores, [ring.tail for ring in rings], engine.unrendered_s))


def resume(engine: Engine, rings: Sequence[EventRing], snapshot: bytes, moved_s: float) -> None:
    """Go on from a snapshot, and take again every event that has come since.

    Args:
        engine: a new one.
        rings: the same as those of the snapshot.
        snapshot: from ``take_snapshot``.
        moved_s: how far the stream's time has jumped since.
    """
    scores, tails, unrendered_s = pickle.loads(snapshot)
    for score in scores:
        score.move(moved_s)
    for ring, tail in zip(rings, tails, strict=True):
        ring.go_back(tail)
    engine.resume(scores, unrendered_s + moved_s)
