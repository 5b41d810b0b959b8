"""A gain that keeps loud chords from clipping."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
CEILING = 0.98
RELEASE_PER_S = 4.0  # of the gain, upwards: a chord's end is not heard as a jump of level


class Ramp:
    """A gain that goes evenly from one value to another within a block. Allocates nothing.

    Args:
        most_samples: of a block.
    """

    def __init__(self, most_samples: int) -> None:
        self._count = np.arange(1, most_samples + 1, dtype=np.float32)[:, None]
        self._gains = np.zeros((most_samples, 1), np.float32)

    def apply(self, block: Audio, start: float, end: float) -> None:
        """Scale ``block`` (samples, channels) in place; ``end`` is the gain of its last sample."""
        if start == end == 1.0:
            return
        gains = self._gains[: len(block)]
        np.multiply(self._count[: len(block)], (end - start) / len(block), out=gains)
        np.add(gains, start, out=gains)
        np.multiply(block, gains, out=block)


class Limiter:
    """Works on blocks, and is told the peak of the next one, so that the gain is down before that begins.

    Args:
        sample_rate_hz: of the audio.
        most_samples: of a block.

    Attributes:
        gain: at the end of the last block.
    """

    def __init__(self, sample_rate_hz: int, most_samples: int) -> None:
        self._rate, self._ramp = sample_rate_hz, Ramp(most_samples)
        self.gain = 1.0

    def apply(self, block: Audio, following_peak: float) -> bool:
        """Scale ``block`` (samples, channels) in place; returns whether that was necessary."""
        worst = max(peak(block), following_peak, 1e-9)
        target = min(1.0, CEILING / worst, self.gain + RELEASE_PER_S * len(block) / self._rate)
        limited = target < 1.0 or self.gain < 1.0
        if limited:
            self._ramp.apply(block, self.gain, target)
        self.gain = target
        return limited


def peak(audio: Audio) -> float:
    """The largest magnitude, 0 of nothing."""
    return float(max(audio.max(), -audio.min())) if len(audio) else 0.0
