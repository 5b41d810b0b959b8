"""The render delay: constant while anything sounds, and moved in silence if playing has shown that it is wrong."""

from __future__ import annotations

from specdiffd.base.metrics import Durations
from specdiffd.player.rehearsal import KEPT_PERCENT, MARGIN_S

UP_REVISIONS = 40  # raise the delay: more, and the musician hears late notes for longer; fewer, and one stall of the machine raises it
DOWN_REVISIONS = 100  # bring it back to what was measured at the start, about a minute of playing
BELOW_REVISIONS = 400  # bring it below that: fewer say little about dense playing, as a minute of single notes does
TOLERANCE = 0.1  # share of the delay by which it may be too short, and half of what it may be too long by: less, and it moves all the time


class RenderDelay:
    """How long after an event its sound comes.

    Args:
        start_s: as it was measured, or configured.
        fixed: it is never moved.

    Attributes:
        seconds: the delay now.
    """

    def __init__(self, start_s: float, fixed: bool) -> None:
        self.seconds = start_s
        self._start_s, self._fixed = start_s, fixed
        self._needed = Durations(BELOW_REVISIONS)

    @property
    def milliseconds(self) -> float:
        """The delay now, rounded for people to 0.01 ms."""
        return round(self.seconds * 1e3, 2)

    def add(self, slack_s: float) -> None:
        """A revision could have come later by ``slack_s``; negative: it was late."""
        self._needed.add(self.seconds - slack_s)

    def move(self) -> bool:
        """Move the delay if it is wrong, and return whether it was; to be called while nothing sounds."""
        count, needed_ms = self._needed.count, self._needed.percentile_ms(KEPT_PERCENT)
        if self._fixed or needed_ms is None:
            return False
        wanted_s = needed_ms / 1e3 + MARGIN_S
        if count < BELOW_REVISIONS:
            wanted_s = max(wanted_s, self._start_s)
        too_short = wanted_s > (1 + TOLERANCE) * self.seconds
        too_long = wanted_s < (1 - 2 * TOLERANCE) * self.seconds
        if not (too_short and count >= UP_REVISIONS) and not (too_long and count >= DOWN_REVISIONS):
            return False
        self.seconds = wanted_s
        self._needed = Durations(BELOW_REVISIONS)
        return True
