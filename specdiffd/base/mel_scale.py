"""The mel scale (HTK): the one place that turns hertz into mels and back.

Every function takes Python floats, NumPy arrays and torch tensors alike, and computes in the precision of its argument. The compiled form
for loops is `specdiffd.base.mel_scale_kernels`, from the same constants.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Number = TypeVar("Number", float, NDArray[np.float64], "Tensor")
# HTK's constants. Every checkpoint was trained on mels of this scale: other values would put all partials into the wrong bins.
CORNER_HZ = 700.0  # the scale is linear well below this frequency and logarithmic well above it
MELS_PER_LOG = 1127.0  # mels for each unit of ln(1 + f / CORNER_HZ)


def hz_to_mel(hz: Number) -> Number:
    """Frequency in hertz to mels."""
    return MELS_PER_LOG * hz_to_log(hz)


def mel_to_hz(mel: Number) -> Number:
    """Mels to frequency in hertz: the inverse of :func:`hz_to_mel`."""
    return log_to_hz(mel / MELS_PER_LOG)


def hz_to_log(hz: Number) -> Number:
    """Frequency in hertz to ln(1 + f / CORNER_HZ), the mel scale in natural units."""
    return _log1p(hz / CORNER_HZ)


def log_to_hz(log: Number) -> Number:
    """The inverse of :func:`hz_to_log`."""
    return CORNER_HZ * _expm1(log)


def hz_difference(hz: Number, log: Number) -> Number:
    """The distance in hertz from ``hz`` to the frequency that lies ``log`` natural units of the mel scale above it."""
    return (hz + CORNER_HZ) * _expm1(log)


def transposed_mel(mel: Number, ratio: Number) -> Number:
    """Where a frequency at ``mel`` mels lies when it is multiplied by ``ratio``, in mels."""
    return MELS_PER_LOG * _log1p(_expm1(mel / MELS_PER_LOG) * ratio)


def _log1p(x: Any) -> Any:
    if isinstance(x, float):
        return math.log1p(x)
    return np.log1p(x) if isinstance(x, np.ndarray) else x.log1p()


def _expm1(x: Any) -> Any:
    if isinstance(x, float):
        return math.expm1(x)
    return np.expm1(x) if isinstance(x, np.ndarray) else x.expm1()
