"""Where tones and noise are silent, compiled to play: the same as `limits.audibility`, for one bin.

The counterpart of `limits.log_level_limit` is a sum, which the kernels of tones and noise write out: the compiler may round a sum in
another order where it is a function of its own.
"""

from __future__ import annotations

import numpy as np

from specdiffd.base.loops import compiled, exp

f32 = np.float32
ZERO, ONE = f32(0), f32(1)


@compiled
def audibility(log_mel_ceiling: np.float32, log_floor: np.float32) -> np.float32:
    """A factor on amplitudes, 0 where the mel shows silence and near 1 elsewhere."""
    return max(ONE - exp(min(log_floor - log_mel_ceiling, ZERO)), ZERO)
