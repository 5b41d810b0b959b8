"""Distances of log mels, as the note prior and the decoder are trained by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from specdiffd.prior.texture import NEXT_FRAME

LEAST_ROUGHNESS = 0.02  # nepers: a smaller one makes the likelihood of a steady bin grow without bound
STEADY_NEPERS = 0.25  # a frame; with more, onsets count as texture
AUDIBLE_LOG = -6.0  # natural log: 50 dB below a usual note


def audibility(mel: Tensor) -> Tensor:
    """The weight of each bin of a log mel: 1, falling to a half for those more than 50 dB below a usual note."""
    return 0.5 + 0.5 * torch.sigmoid(mel - AUDIBLE_LOG)


def audible_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two log mels in nepers, weighted by the audibility of the louder one."""
    return ((predicted - target).abs() * audibility(torch.maximum(predicted.detach(), target))).mean()


def unlikelihood(error: Tensor, roughness: Tensor) -> Tensor:
    """Negative log-likelihood (B, F - 1, mel) of the error's changes from frame to frame, under Laplace's distribution.

    Only changes count, since an error that stays the same for the length of a note is a wrong level and no texture. A normal distribution
    would be decided by the few onsets that are wrong by nepers.

    Args:
        error: (B, F, mel) of the log mel.
        roughness: (B, F, mel) predicted standard deviation, in nepers.
    """
    spread = roughness[:, 1:].clamp_min(LEAST_ROUGHNESS)
    return deviation(error) / spread + spread.log()


def deviation(error: Tensor) -> Tensor:
    """Absolute changes (B, F - 1, mel) from frame to frame of an error (B, F, mel), scaled: the mean is one frame's standard deviation.

    That holds for normal noise whose neighbouring frames have the correlation ``NEXT_FRAME``.
    """
    return error.diff(dim=1).abs() * math.sqrt(math.pi / (4 * (1 - NEXT_FRAME)))


def steady(predicted: Tensor) -> Tensor:
    """1 where a log mel (B, F, mel) goes on much as in the frame before, 0 at onsets and releases; (B, F - 1, mel)."""
    return (predicted.detach().diff(dim=1).abs() < STEADY_NEPERS).float()
