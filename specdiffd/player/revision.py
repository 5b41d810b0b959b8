"""A revision in hand, from its first stage to its last."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Revision:
    """The forecast is being rendered again from an event on.

    Attributes:
        changed_s: the earliest event that is in the timeline in no form yet.
        unfinished_s: the earliest event that is there as a draft at most.
        stages: the work, stage by stage.
        stages_done: how many of them.
        begun_s: when it began, by ``time.perf_counter``.
        spliced_s: when its first splice, draft or finished, was in the timeline, by the same clock; None: it is not heard yet.
        base: the state that it continues, which it has taken out of the forecast's.
    """

    changed_s: float
    unfinished_s: float
    stages: Generator[None, None, None] = field(init=False)
    stages_done: int = 0
    begun_s: float = field(default_factory=time.perf_counter)
    spliced_s: float | None = None
    base: Any = None
