"""Gains that move evenly: fades, and a limiter that keeps loud chords from clipping."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
CEILING = 0.98
# How far the limiter looks ahead, and how long a change of gain from nothing to 1 takes: shorter, both click; longer, loud notes are turned
# down audibly before they come.
RAMP_S = 256 / 48000
RELEASE_PER_S = 4.0  # of the limiter's gain, upwards: faster, a chord's end is heard as a jump of level


class Fader:
    """A gain that goes to where it should be by 1 in ``RAMP_S``, whatever the size of a block.

    Args:
        sample_rate_hz: of the audio.
        gain: at the beginning.

    Attributes:
        gain: at the end of the last block.
    """

    def __init__(self, sample_rate_hz: int, gain: float) -> None:
        self._step = 1 / max(1, round(RAMP_S * sample_rate_hz))
        self.gain = gain

    def apply(self, block: Audio, target: float) -> None:
        """Scale ``block`` (samples, channels) in place, on the way to ``target``."""
        if self.gain == target == 1.0:
            return
        way = np.arange(1, len(block) + 1, dtype=np.float32)[:, None] * np.float32(self._step)
        gains = np.maximum(self.gain - way, target) if target < self.gain else np.minimum(self.gain + way, target)
        np.multiply(block, gains, out=block)
        self.gain = float(gains[-1, 0])


class Limiter:
    """Is told what follows a block, so that the gain is down before a peak comes.

    Args:
        sample_rate_hz: of the audio.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate, self._gain = sample_rate_hz, 1.0
        self._ramp_samples = max(1, round(RAMP_S * sample_rate_hz))
        self.ahead_samples = 2 * self._ramp_samples

    def apply(self, block: Audio, ahead: Audio) -> bool:
        """Scale ``block`` (samples, channels) in place; returns whether that was necessary.

        Args:
            block: is limited.
            ahead: the ``ahead_samples`` that follow it; fewer where no more is known.
        """
        size = -(-len(block) // -(-len(block) // self._ramp_samples))  # of equal pieces, none longer than a ramp
        ahead = ahead[: -(-self._ramp_samples // size) * size]  # a ramp and the rest of a piece
        if self._gain == 1.0 and max(peak(block), peak(ahead)) <= CEILING:
            return False
        own = _peaks(block, size)
        peaks = np.concatenate((own, _peaks(ahead, size)))
        for k in range(len(own)):
            self._turn(block[k * size : (k + 1) * size], peaks[k : len(peaks) - len(own) + k + 1])
        return True

    def _turn(self, piece: Audio, peaks: NDArray[np.float32]) -> None:
        """Scale a piece by its own peak and those that follow, as many samples each.

        The gain goes down as fast as it must to be there in time, at once where a peak follows next, and up slowly.
        """
        limits = CEILING / np.maximum(peaks, CEILING)
        down = self._gain + (limits[1:] - self._gain) / np.arange(1, len(limits))
        up = min(float(limits[:2].min()), self._gain + RELEASE_PER_S * len(piece) / self._rate)
        gain = min(up, float(down[limits[1:] < self._gain].min(initial=1.0)))
        piece *= np.linspace(self._gain, gain, len(piece) + 1, dtype=np.float32)[1:, None]
        self._gain = gain


def peak(audio: Audio) -> float:
    """The largest magnitude, 0 of nothing."""
    return float(max(audio.max(), -audio.min())) if len(audio) else 0.0


def _peaks(audio: Audio, size: int) -> NDArray[np.float32]:
    """The largest magnitudes of every ``size`` samples."""
    if not len(audio):
        return np.zeros(0, np.float32)
    return np.maximum.reduceat(np.abs(audio).max(1), np.arange(0, len(audio), size))
