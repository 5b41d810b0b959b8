"""The mel scale for compiled loops: what `specdiffd.base.mel_scale` computes, in single precision."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from specdiffd.base.loops import compiled
from specdiffd.base.mel_scale import CORNER_HZ, MELS_PER_LOG

# Typed: a Python float would make the loops compute in double precision.
CORNER_HZ_32, MELS_PER_LOG_32 = np.float32(CORNER_HZ), np.float32(MELS_PER_LOG)
SEMITONE = np.float32(math.log(2) / 12)  # natural log of the ratio of frequencies


class MelAxis(NamedTuple):
    """Where the centres of a format's mel bins lie."""

    lowest_mel: np.float32  # the first bin's
    bins_per_mel: np.float32


@compiled
def hz_to_mel(hz: np.float32) -> np.float32:
    """`mel_scale.hz_to_mel`: frequency in hertz to mels."""
    return MELS_PER_LOG_32 * math.log1p(hz / CORNER_HZ_32)


@compiled
def transposed_mel(mel: np.float32, ratio: np.float32) -> np.float32:
    """`mel_scale.transposed_mel`: where a frequency at ``mel`` mels lies when it is multiplied by ``ratio``, in mels."""
    corners = np.float32(math.expm1(mel / MELS_PER_LOG_32))
    return MELS_PER_LOG_32 * np.float32(math.log1p(corners * ratio))
