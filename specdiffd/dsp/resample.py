"""Rational resampling by absolute sample index. It has no state, so chunks equal the whole and a revision can go back."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

HALF_WIDTH = 24  # samples to either side, at the lower rate; fewer widen the transition band
KAISER_BETA = 9.0  # about 90 dB of stopband; more widens the transition band


class Resampler:
    """From ``source_hz`` to ``target_hz`` by a windowed-sinc polyphase filter, as one matrix product a chunk.

    Output sample n lies at input position n * source_hz / target_hz and is computed from the input samples within
    ``reach`` of it. Blocks of ``up`` outputs share one filter matrix and advance by ``down`` inputs.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        common = math.gcd(source_hz, target_hz)
        self.up, self.down = target_hz // common, source_hz // common
        self.reach = 0 if self.up == self.down else math.ceil(HALF_WIDTH * max(1.0, self.down / self.up))
        self._matrix = _filter_matrix(self.up, self.down, self.reach)

    def needs(self, first: int, last: int) -> tuple[int, int]:
        """The input samples [first, last) that output samples [first, last) are computed from."""
        blocks = first // self.up, -(-last // self.up)
        return blocks[0] * self.down - self.reach, blocks[1] * self.down + self.reach

    def ready(self, inputs: int) -> int:
        """How many output samples, from 0 on, can be computed from the first ``inputs`` input samples."""
        return max(0, (inputs - self.reach) // self.down * self.up)

    def apply(self, inputs: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
        """Output samples [first, last) along axis 0.

        Args:
            inputs: (samples, channels), exactly those that :meth:`needs` names.
        """
        if self.up == self.down:
            return inputs
        start = first // self.up
        blocks = -(-last // self.up) - start
        width = self.down + 2 * self.reach
        windows = np.lib.stride_tricks.sliding_window_view(inputs, width, axis=0)[:: self.down][:blocks]  # (blocks, channels, width)
        out = windows @ self._matrix  # (blocks, channels, up)
        flat = out.transpose(0, 2, 1).reshape(blocks * self.up, -1)
        return np.ascontiguousarray(flat[first - start * self.up : last - start * self.up])


@lru_cache
def _filter_matrix(up: int, down: int, reach: int) -> NDArray[np.float32]:
    """(down + 2 reach, up): column k holds the taps of output k of a block over the block's input window."""
    if up == down:
        return np.ones((1, 1), np.float32)
    positions = np.arange(up) * down / up + reach
    distance = np.arange(down + 2 * reach)[:, None] - positions
    cutoff = min(1.0, up / down) * (1 - 2.9 / HALF_WIDTH * 0.5)  # half the transition band below the lower Nyquist
    window = np.where(
        np.abs(distance) <= reach, np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, 1))) / np.i0(KAISER_BETA), 0
    )
    taps = cutoff * np.sinc(cutoff * distance) * window
    return (taps / taps.sum(0)).astype(np.float32)
