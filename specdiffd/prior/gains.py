"""The gain tables: corrections for each key of each program. A soundfont changes its recording every few keys, which no network learned.

A row of a table belongs to a key of a program. Colours are log gains of each mel bin at a few ages, dynamics log gains of each band at a few
velocities, details codes of patterns of log gains at many ages. `gains_kernels` computes the same for playing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from specdiffd.base.mel_scale import transposed_mel
from specdiffd.prior.config import BAND, COLOUR_AGES_S, COLOURED, DETAIL_AGES, DETAIL_AGES_S, DETAIL_BINS, DYNAMICS, PriorConfig


def interpolation_place(x: Tensor, points: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Which two of the ascending ``points`` each ``x`` (N,) lies between.

    Returns:
        The index (N,) of the upper point, and the fraction (N,) of the way from the lower to the upper one, 0 to 1.
    """
    places = torch.tensor(points, device=x.device)
    x = x.clamp(points[0], points[-1]).contiguous()
    upper = torch.searchsorted(places, x).clamp_min(1)
    return upper, (x - places[upper - 1]) / (places[upper] - places[upper - 1])


def interpolation_weights(x: Tensor, points: Sequence[float]) -> Tensor:
    """The weights (N, points) that linear interpolation at ``x`` (N,) gives to values at the ascending ``points``; each row adds up to 1."""
    upper, fraction = interpolation_place(x, points)
    columns, weights = torch.stack((upper - 1, upper), -1), torch.stack((1 - fraction, fraction), -1)
    return x.new_zeros(len(x), len(points)).scatter(-1, columns, weights)


def detail_gains(patterns: Tensor) -> Tensor:
    """Log gains (N, detail ages, mel) of patterns (N, codes, DETAIL_AGES * DETAIL_BINS), one for each code of a row."""
    ages = len(DETAIL_AGES_S) // DETAIL_AGES
    return patterns.unflatten(-1, (DETAIL_AGES, DETAIL_BINS)).unflatten(1, (ages, -1)).transpose(2, 3).flatten(3).flatten(1, 2)


def table_key(key: Tensor) -> Tensor:
    """The keys (N,) whose rows of the gain tables are used for keys (N,)."""
    return key.clamp(COLOURED[0], COLOURED[-1])


def dynamics_gains(dynamics: Tensor, velocity: Tensor) -> Tensor:
    """Log gains (N, mel) of rows (N, velocities * bands) of the dynamics at velocities (N,), 0 to 1."""
    bands = dynamics.unflatten(-1, (len(DYNAMICS), -1))
    return torch.einsum("nv,nvb->nb", interpolation_weights(velocity, DYNAMICS), bands).repeat_interleave(BAND, -1)


def colour_gains(colours: Tensor) -> Tensor:
    """Log gains (N, detail ages, mel) of rows (N, colour ages * mel) of the colours."""
    weights = interpolation_weights(torch.tensor(DETAIL_AGES_S, device=colours.device), COLOUR_AGES_S)
    return weights @ colours.unflatten(-1, (len(COLOUR_AGES_S), -1))


def transposed_gains(gains: Tensor, semitones: Tensor, config: PriorConfig) -> Tensor:
    """Log gains (N, J, mel) of recordings played ``semitones`` (N,) higher: the whole spectrum moves."""
    bins, step = config.mel_bins, config.mels_per_bin
    centres_mel = config.lowest_mel + step * torch.arange(1, bins + 1, device=gains.device)
    source_mel = transposed_mel(centres_mel, torch.exp(-semitones[:, None] * (math.log(2) / 12)))
    place = ((source_mel - config.lowest_mel) / step - 1).clamp(0, bins - 1.001)[:, None].expand_as(gains)
    lower = place.long()
    return torch.lerp(gains.gather(-1, lower), gains.gather(-1, lower + 1), place - lower)
