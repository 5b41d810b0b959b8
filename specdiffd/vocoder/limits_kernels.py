"""How loud tones and noise may be, compiled to play: the same as in `limits`, for one bin."""

from __future__ import annotations

import numpy as np

from specdiffd.base.loops import compiled, exp

f32 = np.float32
ZERO, ONE = f32(0), f32(1)


@compiled
def log_level_limit(log_mel_ceiling: np.float32, log_gain: np.float32, margin_nepers: np.float32) -> np.float32:
    """The highest log level that a mel can mean: see `limits.log_level_limit`, whose margin is an argument here."""
    return log_mel_ceiling - log_gain + margin_nepers


@compiled
def audibility(log_mel_ceiling: np.float32, log_floor: np.float32) -> np.float32:
    """A factor on amplitudes, 0 where the mel shows silence and near 1 elsewhere."""
    return max(ONE - exp(min(log_floor - log_mel_ceiling, ZERO)), ZERO)
