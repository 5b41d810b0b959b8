"""Linear layers as compiled loops, for the networks of the note prior."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import exp, inlined

Floats = NDArray[np.float32]
f32 = np.float32
# Typed: a Python float would make the loops compute in double precision.
ZERO, HALF, ONE, TWO = f32(0), f32(0.5), f32(1), f32(2)
LOWEST_EXPONENT = f32(-80)  # `exp` is wrong below it; its exponential is as good as 0
ROOT_HALF, ERF_P = f32(math.sqrt(0.5)), f32(0.3275911)
ERF_A = tuple(f32(a) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))


class Layer(NamedTuple):
    """A linear layer, inputs first."""

    weight: NDArray[Any]  # (inputs, outputs) float32, or int16 in units of ``scale``
    scale: Floats  # (outputs,)
    bias: Floats  # (outputs,)


@inlined
def gelu(x: np.float32) -> np.float32:
    """`nn.GELU`, with the error function by Abramowitz and Stegun 7.1.26, to 1.5e-7."""
    z = min(abs(x) * ROOT_HALF, f32(6))
    t = ONE / (ONE + ERF_P * z)
    erf = ONE - t * (ERF_A[0] + t * (ERF_A[1] + t * (ERF_A[2] + t * (ERF_A[3] + t * ERF_A[4])))) * exp(-z * z)
    return HALF * (x + abs(x) * erf)


@inlined
def gelu_all(x: Floats) -> None:
    """`gelu` of each element of ``x``, in place."""
    for o in range(len(x)):
        x[o] = gelu(x[o])


@inlined
def product(x: Floats, weight: NDArray[Any], y: Floats) -> None:
    """``y`` (outputs,) = ``x`` (inputs,) @ ``weight``. Eight inputs at a time: each pass reads and writes all outputs."""
    inputs, outputs = len(x), len(y)
    eights = inputs // 8 * 8
    y[:] = ZERO
    for i in range(0, eights, 8):
        a, b, c, d, e, f, g, h = x[i], x[i + 1], x[i + 2], x[i + 3], x[i + 4], x[i + 5], x[i + 6], x[i + 7]
        for o in range(outputs):
            first = a * f32(weight[i, o]) + b * f32(weight[i + 1, o]) + c * f32(weight[i + 2, o]) + d * f32(weight[i + 3, o])
            then = e * f32(weight[i + 4, o]) + f * f32(weight[i + 5, o]) + g * f32(weight[i + 6, o]) + h * f32(weight[i + 7, o])
            y[o] += first + then
    for i in range(eights, inputs):
        for o in range(outputs):
            y[o] += x[i] * f32(weight[i, o])


@inlined
def affine(x: Floats, layer: Layer, y: Floats) -> None:
    """``y`` (outputs,) = ``layer`` of ``x`` (inputs,)."""
    product(x, layer.weight, y)
    for o in range(len(y)):
        y[o] = y[o] * layer.scale[o] + layer.bias[o]


@inlined
def add_scaled(scale: np.float32, x: Floats, y: Floats) -> None:
    """Add ``scale`` * ``x`` to ``y``."""
    for o in range(len(y)):
        y[o] += scale * x[o]
