"""Where tones and noise are silent, compiled to play: the same as `limits.audibility`, for one bin.

The kernels of tones and noise write out the sum of `limits.log_level_limit`: as a separate function, the compiler may add in a different
order.
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
