"""The correction of levels, compiled to play on a CPU: the same as `levels.LevelCorrection.corrected`, without gradients.

The triangles of a mel overlap so that a bin of the transform lies in two of them at most: loops over these two replace two products
with matrices that are nearly all zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import compiled, exp

Floats = NDArray[np.float32]
f32 = np.float32
ZERO, ONE = f32(0), f32(1)
REAL, IMAGINARY = 0, 1  # along the last dimension of spectra
LEAST_MAGNITUDE = f32(1e-30)  # avoids the logarithm of 0


class LevelConstants(NamedTuple):
    """The two mel bins that each bin of the transform lies between. Mel bins are counted from 1; one more lies at either end."""

    lower_mel_bin: NDArray[np.int64]  # (bins,)
    lower_height: Floats  # (bins,) of the lower mel bin's triangle
    upper_height: Floats  # (bins,) of the next one's
    lower_share: Floats  # (bins,) weight of the lower mel bin's log gain; 0 where levels are not corrected
    upper_share: Floats  # (bins,) weight of the next one's
    log_floor: np.float32  # of the mel
    limit_nepers: np.float32  # of a correction


@compiled
def correct_levels(constants: LevelConstants, spectra: Floats, log_mel: Floats) -> None:
    """Bring short-time spectra to the levels of a mel, within limits. Where the mel is silent they become silent.

    Args:
        constants: from the config.
        spectra: (B, T, bins, 2) real and imaginary parts, is overwritten.
        log_mel: (B, T, mel) that the spectra should have.
    """
    batch, frames, bins = spectra.shape[:3]
    mel_bins = log_mel.shape[2]
    magnitude, log_gain = np.empty(bins, np.float32), np.empty(mel_bins + 2, np.float32)
    for b in range(batch):
        for t in range(frames):
            _measure(constants, spectra[b, t], magnitude, log_gain)
            _compare(constants, log_mel[b, t], log_gain)
            _apply(constants, log_gain, _audibility(constants, log_mel[b, t]), spectra[b, t], magnitude)


@compiled
def _measure(constants: LevelConstants, spectrum: Floats, magnitude: Floats, mel: Floats) -> None:
    """Write the mel of ``spectrum`` (bins, 2) into ``mel`` (mel + 2,); ``magnitude`` (bins,) is overwritten."""
    c = constants
    for k in range(len(spectrum)):
        real, imaginary = spectrum[k, REAL], spectrum[k, IMAGINARY]
        magnitude[k] = math.sqrt(real * real + imaginary * imaginary)
    mel[:] = ZERO
    for k in range(len(spectrum)):
        mel[c.lower_mel_bin[k]] += magnitude[k] * c.lower_height[k]
        mel[c.lower_mel_bin[k] + 1] += magnitude[k] * c.upper_height[k]


@compiled
def _compare(constants: LevelConstants, log_mel: Floats, mel: Floats) -> None:
    """Replace ``mel`` (mel + 2,) by the log gains that bring it to ``log_mel`` (mel,), within limits; 0 at either end."""
    c, mel_bins = constants, len(log_mel)
    for m in range(mel_bins):
        measured = math.log(max(mel[m + 1], LEAST_MAGNITUDE))
        mel[m + 1] = min(max(log_mel[m] - max(measured, c.log_floor), -c.limit_nepers), c.limit_nepers)
    mel[0], mel[mel_bins + 1] = ZERO, ZERO


@compiled
def _audibility(constants: LevelConstants, log_mel: Floats) -> np.float32:
    """A factor that is 0 where all of ``log_mel`` (mel,) is silent."""
    loudest = constants.log_floor
    for m in range(len(log_mel)):
        loudest = max(loudest, log_mel[m])
    return ONE - exp(constants.log_floor - loudest)


@compiled
def _apply(constants: LevelConstants, log_gain: Floats, audibility: np.float32, spectrum: Floats, bin_log_gain: Floats) -> None:
    """Multiply ``spectrum`` (bins, 2) by ``audibility`` and the gains of its mel bins (mel + 2,); ``bin_log_gain`` is overwritten."""
    c = constants
    for k in range(len(spectrum)):
        bin_log_gain[k] = c.lower_share[k] * log_gain[c.lower_mel_bin[k]] + c.upper_share[k] * log_gain[c.lower_mel_bin[k] + 1]
    for k in range(len(spectrum)):
        gain = audibility * exp(bin_log_gain[k])
        spectrum[k, REAL] *= gain
        spectrum[k, IMAGINARY] *= gain
