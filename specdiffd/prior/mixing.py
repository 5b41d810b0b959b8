"""Notes together: their powers add, and so do their roughnesses. `mixing_kernels` computes the same for playing."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Contributions(NamedTuple):
    """The notes' spectra in frames, for P pairs of a note and a frame."""

    note: Tensor  # (P,) row
    frame: Tensor  # (P,)
    power: Tensor  # (P, mel)
    rough_power: Tensor  # (P, mel) the power of each shape times its roughness, a standard deviation in nepers


def summed(x: Tensor, frame: Tensor, frames: int) -> Tensor:
    """Over all notes of each frame: (P, mel) of pairs with ``frame`` (P,) to (frames, mel)."""
    return x.new_zeros(frames, x.shape[1]).index_add(0, frame, x)


def log_mel_of(power: Tensor, log_floor: float) -> Tensor:
    """Log mel of a power, of any shape: the natural log of its root, not below ``log_floor``."""
    return 0.5 * torch.log(power + math.exp(2 * log_floor))


def mean_roughness(power: Tensor, rough_power: Tensor, frame: Tensor, beats: Tensor, total: Tensor, log_floor: float) -> Tensor:
    """Standard deviation (F, mel) in nepers of a frame's log mel about what its notes predict; 0 where nothing sounds.

    Its square is the square of the notes' mean roughness, weighted by power, plus the variance of beats between partials of different
    notes. Beats grow with the chance that two random parts of the power belong to different notes.

    Args:
        power: (P, mel) of `Contributions`.
        rough_power: (P, mel) of `Contributions`.
        frame: (P,) of `Contributions`.
        beats: (mel,) natural log of the deviation that beats add where no note has more than a small part of the power.
        total: (F, mel) power of the notes together.
        log_floor: natural log mel of a silent bin.
    """
    with_floor = total + math.exp(2 * log_floor)
    mean = summed(rough_power, frame, len(total)) / with_floor
    same_note = summed(power.square(), frame, len(total)) / with_floor.square()
    different_notes = (total / with_floor).square() - same_note
    variance = mean.square() + (2 * beats).exp() * different_notes.clamp_min(0.0)
    return (variance + 1e-12).sqrt()  # the square root has no gradient at 0
