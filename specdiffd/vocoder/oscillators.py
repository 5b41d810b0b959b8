"""A bank of sinusoids that training can differentiate; `playing` has it as loops."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Gate(NamedTuple):
    """What is let through before a moment of each stretch; all of it after ``ramp`` samples more."""

    begins: Tensor  # (B, M, K) samples from the beginning of the stretch
    before: Tensor  # (B, M, K) factor on the amplitude until then, 1: there is no such moment
    ramp: float

    def at(self, sample: Tensor) -> Tensor:
        """The factor at ``sample``, which is broadcast against the fields."""
        return self.before + (1 - self.before) * ((sample - self.begins) / self.ramp).clamp(0.0, 1.0)


def oscillate(start: Tensor, per_sample: Tensor, before: Tensor, amplitude: Tensor, samples: int, gate: Gate) -> Tensor:
    """Sum of sinusoids of constant frequency and linear amplitude over one stretch.

    sin(a + b) is taken apart, so that a stretch is one small matrix product. The gate moves in steps of ``fine``.

    Args:
        start: phase at the first sample, in cycles (B, M, K).
        per_sample: frequency in cycles per sample (B, M, K).
        before, amplitude: at the end of the stretch before and at the end of this one (B, M, K).
        samples: length of the stretch.
        gate: a factor on the amplitude.

    Returns:
        (B, M, samples)
    """
    divisors = [d for d in range(1, samples + 1) if samples % d == 0]
    fine = min(divisors, key=lambda d: abs(d - math.sqrt(samples / 2)))
    coarse, turn, device = samples // fine, 2 * math.pi, start.device
    step = (turn * per_sample)[:, :, None]
    theta = torch.addcmul((turn * start)[:, :, None], step, torch.arange(0.0, samples, fine, device=device)[:, None])
    beta = step * torch.arange(float(fine), device=device)[:, None]  # (B, M, fine, K)
    theta, beta = theta.flatten(0, 1), beta.flatten(0, 1)
    middles = torch.arange(0.0, samples, fine, device=device)[:, None] + fine / 2
    open_ = gate._replace(begins=gate.begins[:, :, None], before=gate.before[:, :, None]).at(middles).flatten(0, 1)
    sine, cosine, beta_sine, beta_cosine = theta.sin() * open_, theta.cos() * open_, beta.sin(), beta.cos()

    def wave(level: Tensor) -> Tensor:
        level = level.flatten(0, 1)[:, None]
        first = torch.bmm(sine, (level * beta_cosine).transpose(1, 2))
        return torch.baddbmm(first, cosine, (level * beta_sine).transpose(1, 2))  # (B M, coarse, fine)

    ramp = torch.arange(1, samples + 1, device=device).view(coarse, fine) / samples
    return torch.lerp(wave(before), wave(amplitude), ramp).view(*start.shape[:2], samples)


def phases(steps: Tensor, before: Tensor, reset: Tensor) -> Tensor:
    """Running sums over dimension 1, beginning with ``before`` and starting anew at 0 wherever ``reset`` is True; modulo 1."""
    sums = before + torch.cumsum(steps, 1)
    index = torch.arange(1, steps.shape[1] + 1, device=steps.device)[:, None].expand_as(steps)
    last = torch.where(reset, index, 0).cummax(1).values  # 0: none yet
    base = torch.cat((torch.zeros_like(before), sums), 1).gather(1, last)
    return torch.remainder(sums - base, 1.0)
