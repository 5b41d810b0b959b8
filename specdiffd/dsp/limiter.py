"""Smooth gains: fades, and a limiter that keeps loud chords from clipping."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
CEILING = 0.98  # largest magnitude after the limiter; at 1 or more, conversion to integers would clip
# The limiter's lookahead, and the duration of a fade from 0 to 1. Shorter, both click; longer, the gain falls audibly before a loud note.
RAMP_S = 256 / 48000
RELEASE_PER_S = 4.0  # rise of the limiter's gain: faster, the end of a chord is heard as a jump of level


class Fader:
    """A gain that moves towards a target by 1 per ``RAMP_S``, whatever the size of a block.

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
        """Scale ``block`` (samples, channels) in place, moving towards ``target``."""
        if self.gain == target == 1.0:
            return
        change = np.arange(1, len(block) + 1, dtype=np.float32)[:, None] * np.float32(self._step)
        gains = np.maximum(self.gain - change, target) if target < self.gain else np.minimum(self.gain + change, target)
        np.multiply(block, gains, out=block)
        self.gain = float(gains[-1, 0])


class Limiter:
    """A limiter that reads ahead, so that the gain is down before a peak comes.

    Args:
        sample_rate_hz: of the audio.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate, self._gain = sample_rate_hz, 1.0
        self._ramp_samples = max(1, round(RAMP_S * sample_rate_hz))
        self.ahead_samples = 2 * self._ramp_samples

    def apply(self, block: Audio, ahead: Audio) -> bool:
        """Scale ``block`` (samples, channels) in place; returns whether a peak made that necessary.

        Args:
            block: to limit.
            ahead: the ``ahead_samples`` samples that follow it; fewer if no more are known.
        """
        size = -(-len(block) // -(-len(block) // self._ramp_samples))  # of equal pieces, none longer than a ramp
        ahead = ahead[: -(-self._ramp_samples // size) * size]  # a ramp and the rest of a piece
        if self._gain == 1.0 and max(peak(block), peak(ahead)) <= CEILING:
            return False
        block_peaks = _peaks(block, size)
        peaks = np.concatenate((block_peaks, _peaks(ahead, size)))
        for k in range(len(block_peaks)):
            self._turn(block[k * size : (k + 1) * size], peaks[k : len(peaks) - len(block_peaks) + k + 1])
        return True

    def _turn(self, piece: Audio, peaks: NDArray[np.float32]) -> None:
        """Scale a piece, given its peak and those of the pieces that follow, all of one length.

        The gain falls just fast enough for each peak, at once for the next piece's, and rises slowly.
        """
        limits = CEILING / np.maximum(peaks, CEILING)
        down = self._gain + (limits[1:] - self._gain) / np.arange(1, len(limits))
        up = min(float(limits[:2].min()), self._gain + RELEASE_PER_S * len(piece) / self._rate)
        gain = min(up, float(down[limits[1:] < self._gain].min(initial=1.0)))
        piece *= np.linspace(self._gain, gain, len(piece) + 1, dtype=np.float32)[1:, None]
        self._gain = gain


def peak(audio: Audio) -> float:
    """The largest magnitude; 0 if there are no samples."""
    return float(max(audio.max(), -audio.min())) if len(audio) else 0.0


def _peaks(audio: Audio, size: int) -> NDArray[np.float32]:
    """The largest magnitudes of every ``size`` samples."""
    if not len(audio):
        return np.zeros(0, np.float32)
    return np.maximum.reduceat(np.abs(audio).max(1), np.arange(0, len(audio), size))
