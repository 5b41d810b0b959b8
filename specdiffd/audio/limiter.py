"""A gain that keeps loud chords from clipping."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
CEILING = 0.98
RELEASE_PER_S = 4.0  # of the gain, upwards: a chord's end is not heard as a jump of level


class Limiter:
    """Works on blocks, and is told the peak of the next one, so that the gain is down before that begins.

    Attributes:
        gain: at the end of the last block.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self.gain = 1.0

    def apply(self, block: Audio, following_peak: float) -> bool:
        """Scale ``block`` (samples, channels) in place; returns whether that was necessary."""
        worst = max(peak(block), following_peak, 1e-9)
        target = min(1.0, CEILING / worst, self.gain + RELEASE_PER_S * len(block) / self._rate)
        limited = target < 1.0 or self.gain < 1.0
        if limited:
            block *= np.linspace(self.gain, target, len(block) + 1, dtype=np.float32)[1:, None]
        self.gain = target
        return limited


def peak(audio: Audio) -> float:
    """The largest magnitude, 0 of nothing."""
    return float(max(audio.max(), -audio.min())) if len(audio) else 0.0
