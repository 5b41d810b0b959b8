"""Limits on the levels of tones and noise, from the mel. `limits_kernels` has the compiled form of :func:`audibility`.

Training losses hardly depend on sounds some 80 dB below full scale. Without limits the networks leave a hum there, which a log mel shows.
"""

from __future__ import annotations

import torch
from torch import Tensor

MARGIN_NEPERS = 2.3  # a level may exceed that of a steady sound with the same mel by this: less would clip sounds that are not steady


def log_level_limit(log_mel_ceiling: Tensor, log_gain: Tensor) -> Tensor:
    """The highest log level that is consistent with a mel.

    Args:
        log_mel_ceiling: the largest log mel near the bin.
        log_gain: log mel of a steady sound of level 1, broadcast against it.
    """
    return log_mel_ceiling - log_gain + MARGIN_NEPERS


def audibility(log_mel_ceiling: Tensor, log_floor: float) -> Tensor:
    """A factor on amplitudes: 0 where the mel shows silence, near 1 elsewhere."""
    return 1 - torch.exp(log_floor - log_mel_ceiling)
