"""The note prior learns a mean, and how far single frames lie from it."""

import math

import pytest
import torch

from specdiffd.prior.texture import NEXT_FRAME
from specdiffd.train.mel_losses import unlikelihood


def test_the_likeliest_roughness_is_the_deviation_of_the_changes() -> None:
    """A constant error does not count. Independent frames change as much as correlated frames of a larger deviation do."""
    torch.manual_seed(0)
    spread = torch.tensor([0.1, 0.3, 0.6])
    constant_error = torch.tensor([1.0, -2.0, 0.0])
    error = constant_error + spread * torch.randn(8, 400, 3)
    roughness = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([roughness], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        unlikelihood(error, roughness.exp().expand_as(error)).mean().backward()
        optimizer.step()
    assert roughness.exp().tolist() == pytest.approx((spread / math.sqrt(1 - NEXT_FRAME)).tolist(), rel=0.05)
