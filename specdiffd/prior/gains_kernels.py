"""The gain tables as compiled loops: the same as `specdiffd.prior.gains`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import compiled, exp, inlined
from specdiffd.base.mel_scale_kernels import SEMITONE, MelAxis, transposed_mel
from specdiffd.prior.config import BAND, DETAIL_AGES, DETAIL_BINS
from specdiffd.prior.dense_kernels import LOWEST_EXPONENT, ONE, TWO, ZERO, Floats, f32


class GainTables(NamedTuple):
    """The tables as arrays, a row for each key of each program; log gains."""

    colours: Floats  # (rows, colour ages, mel)
    colour_upper: NDArray[np.int64]  # (J,) index of the first colour age above each detail age
    colour_fraction: Floats  # (J,) of the way from the colour age below to that one
    dynamics: Floats  # (rows, velocities, bands)
    velocities: Floats  # (velocities,)
    details: NDArray[np.uint8]  # (rows, age groups, bin groups) codes
    patterns: Floats  # (codes, DETAIL_AGES, DETAIL_BINS)
    roughness: Floats  # (rows, bands)


@inlined
def interpolation_place(x: np.float32, points: Floats) -> tuple[int, np.float32]:
    """`gains.interpolation_place`: the index of the point above ``x``, and the fraction of the way to it from the point below."""
    upper = 1
    while upper < len(points) - 1 and x > points[upper]:
        upper += 1
    return upper, min(max((x - points[upper - 1]) / (points[upper] - points[upper - 1]), ZERO), ONE)


@inlined
def dynamics_gains(dynamics: Floats, velocity: np.float32, velocities: Floats, y: Floats) -> None:
    """`gains.dynamics_gains`: fill ``y`` (mel,) with log gains of one row (velocities, bands) at a velocity, 0 to 1."""
    upper, fraction = interpolation_place(velocity, velocities)
    for m in range(len(y)):
        y[m] = (ONE - fraction) * dynamics[upper - 1, m // BAND] + fraction * dynamics[upper, m // BAND]


@inlined
def untransposed_gains(tables: GainTables, row: int, dynamics: Floats, y: Floats) -> None:
    """Fill ``y`` (J, mel) with log gains at the recording's pitch: colours and details of a row, and ``dynamics`` (mel,)."""
    colours, codes = tables.colours[row], tables.details[row]
    for j in range(y.shape[0]):
        upper, fraction, age_group, age = tables.colour_upper[j], tables.colour_fraction[j], j // DETAIL_AGES, j % DETAIL_AGES
        for m in range(y.shape[1]):
            colour = (ONE - fraction) * colours[upper - 1, m] + fraction * colours[upper, m]
            y[j, m] = colour + dynamics[m] + tables.patterns[codes[age_group, m // DETAIL_BINS], age, m % DETAIL_BINS]


@inlined
def transposed_gains(gains: Floats, semitones: np.float32, axis: MelAxis, y: Floats) -> None:
    """`gains.transposed_gains`, as gains of power: fill ``y`` (J, mel) from log gains (J, mel)."""
    bins = y.shape[1]
    ratio = f32(math.exp(-semitones * SEMITONE))
    lower, fraction = np.empty(bins, np.int64), np.empty(bins, np.float32)
    for m in range(bins):
        source_mel = transposed_mel(axis.lowest_mel + f32(m) / axis.bins_per_mel, ratio)
        place = min(max((source_mel - axis.lowest_mel) * axis.bins_per_mel, ZERO), f32(bins) - f32(1.001))
        lower[m] = int(place)
        fraction[m] = place - f32(lower[m])
    for j in range(y.shape[0]):
        for m in range(bins):
            log_gain = (ONE - fraction[m]) * gains[j, lower[m]] + fraction[m] * gains[j, lower[m] + 1]
            y[j, m] = exp(max(TWO * log_gain, LOWEST_EXPONENT))


@compiled
def note_gains(tables: GainTables, row: int, velocity: np.float32, semitones: np.float32, axis: MelAxis, y: Floats) -> None:
    """Fill ``y`` (J, mel) with the gains of a note's power at DETAIL_AGES_S, played ``semitones`` above the row's key."""
    dynamics, gains = np.empty(y.shape[1], np.float32), np.empty(y.shape, np.float32)
    dynamics_gains(tables.dynamics[row], velocity, tables.velocities, dynamics)
    untransposed_gains(tables, row, dynamics, gains)
    transposed_gains(gains, semitones, axis, y)


@inlined
def gains_at(age_s: np.float32, ages_s: Floats, gains: Floats, y: Floats) -> None:
    """Fill ``y`` (mel,) with a note's gains (J, mel) at an age, interpolated between ``ages_s`` (J,)."""
    upper, fraction = interpolation_place(age_s, ages_s)
    for m in range(len(y)):
        y[m] = (ONE - fraction) * gains[upper - 1, m] + fraction * gains[upper, m]
