"""An instrument without networks, for ``specdiffd run --fake`` and for tests that check the engine sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.events import Performance
from specdiffd.base.instrument import Preparation, Rendered, Stages
from specdiffd.base.metrics import Stopwatch


class SineState(NamedTuple):
    """The sine instrument's position."""

    origin: int
    next_frame: int


class SineInstrument:
    """A sine for every note: a pure function of score and absolute time, so the expected audio is known exactly."""

    sample_rate_hz = 16000
    hop_samples = 320
    window_samples = 640
    lookahead_frames = 2
    window_frames = 256
    ring_s = 0.05
    without_graph = 0
    LEVEL = 0.1

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()

    def warm_up(self, report: Callable[[str], object] = lambda what: None) -> None:
        """Nothing to do."""

    def start(self, frame: int, parts: int) -> SineState:
        """Silence before ``frame``."""
        return SineState(frame, frame)

    def with_caches(self, state: SineState, newer: SineState) -> SineState:
        """``state``: there are no caches."""
        return state

    def without_caches(self, state: SineState) -> SineState:
        """``state``: there are no caches."""
        return state

    def rewind(self, state: SineState, frame: int) -> SineState:
        """The state as it was before ``frame``.

        Raises:
            ValueError: the state has not reached ``frame``.
        """
        if frame > state.next_frame:
            raise ValueError(f"frame {frame} does not follow frame {state.next_frame - 1}")
        return state._replace(next_frame=frame)

    def prepare(self, performances: Sequence[Performance], state: SineState, frames: int) -> Preparation[SineState] | None:
        """Nothing to do."""
        return None

    def unprepared(self, state: SineState, frames: int) -> int:
        """0: there is nothing to prepare."""
        return 0

    def stages(
        self, performances: Sequence[Performance], state: SineState, first_frame: int, frames: int, draft: bool = False
    ) -> Stages[SineState]:
        """Audio (parts, frames * hop_samples) from ``first_frame`` on, and the next state, in two stages. ``draft`` is ignored."""
        state = self.rewind(state, first_frame)
        first_hop = first_frame - self.lookahead_frames
        samples = np.arange(first_hop * self.hop_samples, (first_hop + frames) * self.hop_samples)
        yield None
        audio = np.stack([self.sound(p, samples / self.sample_rate_hz) for p in performances])
        self.stopwatch.lap("sine")
        return Rendered(audio, first_hop), SineState(state.origin, first_frame + frames)

    @classmethod
    def sound(cls, performance: Performance, times_s: NDArray[np.float64]) -> NDArray[np.float32]:
        """The audio at ``times_s``: attack and release are raised cosines of 5 and 50 ms, which limit its band."""
        out = np.zeros(len(times_s))
        first_s, last_s = (times_s[0], times_s[-1]) if len(times_s) else (0.0, 0.0)
        for n in performance.notes:
            if n.onset_s > last_s or n.end_s + cls.ring_s < first_s:
                continue
            age, since = times_s - n.onset_s, times_s - n.end_s
            rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(age / 0.005, 0, 1))
            fall = 0.5 + 0.5 * np.cos(np.pi * np.clip(since / cls.ring_s, 0, 1))
            hertz = 440 * 2 ** ((n.pitch - 69) / 12)
            out += cls.LEVEL * n.velocity / 127 * rise * fall * np.sin(2 * np.pi * hertz * age)
        return out.astype(np.float32)
