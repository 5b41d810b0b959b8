"""Fits the gain tables of the note prior for one key of one program: colours, dynamics, details and unrest."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.prior.config import BAND, COLOUR_AGES_S, DETAIL_AGES, DETAIL_AGES_S, DETAIL_BINS, DYNAMICS, PATTERNS
from specdiffd.prior.gains import detail_gains, interpolation_weights
from specdiffd.train.least_absolute import least_absolute, least_absolute_between
from specdiffd.train.mel_losses import LEAST_ROUGHNESS, audibility, deviation, steady

MOST_NEPERS = 4.0  # of one colour, and of the error that is fitted
ALTERNATIONS = 3  # between colours and dynamics, each fitted to what the other leaves
K_MEANS_ROUNDS = 30
NEAR_FLOOR_NEPERS = 0.3  # above the log floor: a target below that counts as silent
FEW_BINS = 20  # bins times frames: with fewer there is no estimate of unrest
MOST_UNREST_NEPERS = 2.0


class KeyFrames(NamedTuple):
    """Frames of single notes of one key, one note after the other."""

    target: Tensor  # (n, mel) log mel
    predicted: Tensor  # (n, mel) log of the root of the power that the prior predicts, without a floor
    roughness: Tensor  # (n, mel) predicted standard deviation, nepers
    age_s: Tensor  # (n,)
    velocity: Tensor  # (n,)


class KeyFit(NamedTuple):
    """What is added to the rows of one key, and how much it helps."""

    colours: Tensor  # (colour ages, mel) log gains
    dynamics: Tensor  # (velocities, bands) log gains
    codes: Tensor  # (codes,) uint8: the pattern of each detail
    unrest: Tensor  # (bands,) log factors of the roughness
    error_before: float  # mean, nepers
    error_after: float

    @property
    def rows(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Colours, dynamics, codes and unrest, each as a row of its table."""
        return self.colours.flatten(), self.dynamics.flatten(), self.codes, self.unrest


def fit_key(notes: KeyFrames, log_floor: float, patterns: Tensor) -> KeyFit:
    """The gains with the least mean absolute error of the log mel.

    Args:
        log_floor: natural log of a silent bin.
        patterns: (PATTERNS, DETAIL_AGES * DETAIL_BINS) log gains that details are made of.
    """
    colours, dynamics = _fit_colours(notes, log_floor)
    codes = torch.cdist(fit_details(notes, log_floor, colours, dynamics), patterns).argmin(1).to(torch.uint8)
    details = detail_gains(patterns[codes.long()][None])[0]
    fitted = _with_colours(notes, colours, dynamics) + interpolation_weights(notes.age_s, DETAIL_AGES_S) @ details
    before, after = (float((x.clamp_min(log_floor) - notes.target).abs().mean()) for x in (notes.predicted, fitted))
    return KeyFit(colours, dynamics, codes, _fit_unrest(notes, fitted, log_floor), before, after)


def sample_details(notes: KeyFrames, log_floor: float) -> Tensor:
    """Details (codes, DETAIL_AGES * DETAIL_BINS) of a key as they are before patterns stand for them."""
    return fit_details(notes, log_floor, *_fit_colours(notes, log_floor))


def _fit_colours(notes: KeyFrames, log_floor: float) -> tuple[Tensor, Tensor]:
    """Colours (ages, mel) and dynamics (velocities, bands)."""
    ages, velocities = interpolation_weights(notes.age_s, COLOUR_AGES_S), interpolation_weights(notes.velocity, DYNAMICS)
    error, weight, silent = _error(notes, notes.predicted, log_floor)
    dynamics = torch.zeros(velocities.shape[1], error.shape[1] // BAND)
    for _ in range(ALTERNATIONS):
        without_dynamics = error - velocities @ dynamics.repeat_interleave(BAND, 1)
        colours = least_absolute(ages, without_dynamics, weight, silent).clamp(-MOST_NEPERS, MOST_NEPERS)
        dynamics = least_absolute(velocities.repeat(BAND, 1), *(_bins_of_bands(x) for x in (error - ages @ colours, weight, silent)))
    return colours, dynamics


def fit_details(notes: KeyFrames, log_floor: float, colours: Tensor, dynamics: Tensor) -> Tensor:
    """Details (codes, DETAIL_AGES * DETAIL_BINS): log gains of what colours and dynamics leave, in the order of their codes."""
    error = _error(notes, _with_colours(notes, colours, dynamics), log_floor)
    gains = least_absolute_between(notes.age_s, DETAIL_AGES_S, *error)  # (detail ages, mel)
    return gains.unflatten(0, (-1, DETAIL_AGES)).unflatten(2, (-1, DETAIL_BINS)).transpose(1, 2).flatten(0, 1).flatten(1)


def _with_colours(notes: KeyFrames, colours: Tensor, dynamics: Tensor) -> Tensor:
    """The prediction (n, mel) with colours and dynamics."""
    dynamics_gain = interpolation_weights(notes.velocity, DYNAMICS) @ dynamics.repeat_interleave(BAND, 1)
    return notes.predicted + interpolation_weights(notes.age_s, COLOUR_AGES_S) @ colours + dynamics_gain


def _error(notes: KeyFrames, predicted: Tensor, log_floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """The error of a prediction, its weight, and where the target is silent, so that any softer prediction is as good; each (n, mel)."""
    silent = notes.target <= log_floor + NEAR_FLOOR_NEPERS
    error = (torch.where(silent, log_floor, notes.target) - predicted).clamp(-MOST_NEPERS, MOST_NEPERS)
    return error, audibility(torch.maximum(notes.target, notes.predicted)), silent


def _fit_unrest(notes: KeyFrames, fitted: Tensor, log_floor: float) -> Tensor:
    """Log factors (bands,) by which frames change more than the predicted roughness says: the most likely ones under Laplace's distribution."""
    change = deviation((fitted.clamp_min(log_floor) - notes.target)[None])[0]
    sounding = notes.target > log_floor + NEAR_FLOOR_NEPERS
    same_note = (notes.age_s.diff() > 0)[:, None]
    counted = steady(fitted[None])[0] * (sounding[1:] & sounding[:-1]) * same_note
    terms = change, notes.roughness[1:], torch.ones_like(change)
    measured, predicted, count = ((x * counted).unflatten(1, (-1, BAND)).sum((0, 2)) for x in terms)
    ratio = (measured + FEW_BINS * LEAST_ROUGHNESS) / (predicted + FEW_BINS * LEAST_ROUGHNESS)
    return torch.where(count > FEW_BINS, ratio.log().clamp(-MOST_UNREST_NEPERS, MOST_UNREST_NEPERS), 0.0)


def _bins_of_bands(x: Tensor) -> Tensor:
    """(n, mel) to (BAND * n, bands): the bins of a band one below the other."""
    return x.unflatten(1, (-1, BAND)).permute(2, 0, 1).flatten(0, 1)


def patterns_of(details: Tensor) -> Tensor:
    """The patterns (PATTERNS, n) nearest to details (N, n), by k-means (Lloyd 1982); the first one is 0."""
    generator = torch.Generator().manual_seed(0)
    patterns = details[torch.randperm(len(details), generator=generator)[:PATTERNS]].clone()
    for _ in range(K_MEANS_ROUNDS):
        patterns[0] = 0
        nearest = torch.cat([torch.cdist(some, patterns).argmin(1) for some in details.split(1 << 16)])
        count = torch.bincount(nearest, minlength=PATTERNS)
        means = torch.zeros_like(patterns).index_add_(0, nearest, details) / count.clamp_min(1)[:, None]
        patterns = torch.where(count[:, None] > 0, means, details[torch.randint(len(details), (PATTERNS,), generator=generator)])
    patterns[0] = 0
    return patterns
