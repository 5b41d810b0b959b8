"""An output that runs on a virtual clock."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.events import Event
from specdiffd.shared.sizes import CHANNELS
from specdiffd.shared.timeline import Timeline


class VirtualStream:
    """An output stream on a virtual clock: scripted events in, samples out, exactly repeatable.

    Args:
        timeline: what is played.
        play: takes an event, its time already that of its sound.
        work: one piece of work; False when there is none.
        block_size: samples per callback.
        delay_s: from an event to its sound.
        pieces_per_block: how many pieces of work fit between two callbacks; None: all there are.
    """

    def __init__(
        self,
        timeline: Timeline,
        play: Callable[[Event], None],
        work: Callable[[], bool],
        *,
        sample_rate_hz: int = 48000,
        block_size: int = 256,
        delay_s: float = 0.05,
        pieces_per_block: int | None = None,
    ) -> None:
        self._timeline, self._play, self._work = timeline, play, work
        self._rate, self._block, self._delay_s, self._pieces = sample_rate_hz, block_size, delay_s, pieces_per_block

    def run(self, events: Sequence[Event], duration_s: float) -> NDArray[np.float32]:
        """Play ``events`` (times as they happen); returns what was heard, (samples, CHANNELS)."""
        waiting = sorted(events, key=lambda e: e.time_s)
        blocks = []
        for _ in range(round(duration_s * self._rate / self._block)):
            now_s = self._timeline.playhead / self._rate
            while waiting and waiting[0].time_s <= now_s:
                event = waiting.pop(0)
                self._play(event._replace(time_s=event.time_s + self._delay_s))
            done = 0
            while (self._pieces is None or done < self._pieces) and self._work():
                done += 1
            out = np.empty((self._block, CHANNELS), np.float32)
            self._timeline.advance(out)
            blocks.append(out)
        return np.concatenate(blocks)
