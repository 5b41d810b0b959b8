"""How loud tones and noise may be, given what the mel shows; the compiled form of :func:`audibility` is in
`limits_kernels`, and computes the same.

Without limits, whatever is some 80 dB under full scale and below is a hum that a log mel shows: losses hardly notice such levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

MARGIN_NEPERS = 2.3  # by which a level may exceed that of a steady sound with the same mel: less would clip sounds that are not steady


def log_level_limit(log_mel_ceiling: Tensor, log_gain: Tensor) -> Tensor:
    """The highest log level that a mel can mean.

    Args:
        log_mel_ceiling: the largest log mel near the bin.
        log_gain: log mel of a steady sound of level 1, broadcast against it.
    """
    return log_mel_ceiling - log_gain + MARGIN_NEPERS


def audibility(log_mel_ceiling: Tensor, log_floor: float) -> Tensor:
    """A factor on amplitudes: 0 where the mel shows silence, near 1 elsewhere."""
    return 1 - torch.exp(log_floor - log_mel_ceiling)
