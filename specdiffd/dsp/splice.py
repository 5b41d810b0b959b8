"""Fades, as pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]


def ramp(samples: int) -> Audio:
    """Raised cosine (samples, 1) from 0 to 1, both excluded."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(samples) + 0.5) / max(1, samples))).astype(np.float32)[:, None]


def crossfade(old: Audio, new: Audio) -> Audio:
    """Equal-gain fade from ``old`` to ``new``, both (samples, channels): right for correlated signals."""
    up = ramp(len(new))
    return old * (1 - up) + new * up


def fade_out(audio: Audio, samples: int) -> Audio:
    """``audio`` (samples, channels) with its last ``samples`` faded to silence."""
    samples = min(samples, len(audio))
    faded = audio.copy()
    if samples:
        faded[-samples:] *= ramp(samples)[::-1]
    return faded
