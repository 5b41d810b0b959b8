"""The render delay: constant while anything sounds, and moved in silence by what playing has shown."""

from __future__ import annotations

from specdiffd.base.metrics import Durations
from specdiffd.player.rehearsal import KEPT, MARGIN_S

UP_REVISIONS = 40  # that say so raise it: whoever plays hears late notes
DOWN_REVISIONS = 100  # bring it back to what was measured at the start, about a minute of playing
BELOW_REVISIONS = 400  # bring it below that: a minute of single notes says little of dense playing
TOLERANCE = 0.1  # of the delay: it stays where it is if it is right within that, and twice that where it is too long


class RenderDelay:
    """How long after an event its sound comes.

    Args:
        start_s: as it was measured, or configured.
        fixed: it is never moved.

    Attributes:
        seconds: now.
    """

    def __init__(self, start_s: float, fixed: bool) -> None:
        self.seconds = start_s
        self._start_s, self._fixed = start_s, fixed
        self._needed = Durations(BELOW_REVISIONS)

    def add(self, slack_s: float) -> None:
        """A revision could have come so much later, or came so much too late (negative)."""
        self._needed.add(self.seconds - slack_s)

    def move(self) -> bool:
        """Nothing sounds: move it if it is wrong; returns whether it was."""
        count, needed_ms = self._needed.count, self._needed.percentile_ms(KEPT)
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
