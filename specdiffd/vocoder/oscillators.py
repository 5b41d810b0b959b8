"""Sums of sinusoids and running phases, in torch, differentiable.

Training replaces :func:`oscillate` in this module by a version compiled by torch, so callers look it up here at each call.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from specdiffd.vocoder.onset_gate import OnsetGate


def oscillate(
    start_cycles: Tensor, cycles_per_sample: Tensor, amplitude_before: Tensor, amplitude: Tensor, samples: int, gate: OnsetGate
) -> Tensor:
    """Sum of sinusoids of constant frequency and linear amplitude over each stretch.

    sin(a + b) is expanded, so that a stretch is one small matrix product: a is the phase every ``fine`` samples, b the phase since then.
    The gate moves in steps of ``fine`` samples.

    Args:
        start_cycles: phase at the first sample (B, M, K).
        cycles_per_sample: frequency (B, M, K).
        amplitude_before, amplitude: at the end of the stretch before and at the end of this one (B, M, K).
        samples: length of the stretch.
        gate: a factor on the amplitude.

    Returns:
        (B, M, samples)
    """
    divisors = [d for d in range(1, samples + 1) if samples % d == 0]
    fine = min(divisors, key=lambda d: abs(d - math.sqrt(samples / 2)))
    coarse, turn, device = samples // fine, 2 * math.pi, start_cycles.device
    step = (turn * cycles_per_sample)[:, :, None]
    theta = torch.addcmul((turn * start_cycles)[:, :, None], step, torch.arange(0.0, samples, fine, device=device)[:, None])
    beta = step * torch.arange(float(fine), device=device)[:, None]  # (B, M, fine, K)
    theta, beta = theta.flatten(0, 1), beta.flatten(0, 1)
    middles = torch.arange(0.0, samples, fine, device=device)[:, None] + fine / 2
    widened = gate._replace(onset_samples=gate.onset_samples[:, :, None], gain_before=gate.gain_before[:, :, None])
    gain = widened.gain_at(middles).flatten(0, 1)
    sine, cosine, beta_sine, beta_cosine = theta.sin() * gain, theta.cos() * gain, beta.sin(), beta.cos()

    def wave(level: Tensor) -> Tensor:
        level = level.flatten(0, 1)[:, None]
        first = torch.bmm(sine, (level * beta_cosine).transpose(1, 2))
        return torch.baddbmm(first, cosine, (level * beta_sine).transpose(1, 2))  # (B M, coarse, fine)

    ramp = torch.arange(1, samples + 1, device=device).view(coarse, fine) / samples
    return torch.lerp(wave(amplitude_before), wave(amplitude), ramp).view(*start_cycles.shape[:2], samples)


def running_phases(steps_cycles: Tensor, before_cycles: Tensor, reset: Tensor) -> Tensor:
    """Running sums of ``steps_cycles`` over dimension 1, modulo 1.

    They start from ``before_cycles``, and again from 0 wherever ``reset`` is True.
    """
    sums = before_cycles + torch.cumsum(steps_cycles, 1)
    index = torch.arange(1, steps_cycles.shape[1] + 1, device=steps_cycles.device)[:, None].expand_as(steps_cycles)
    last = torch.where(reset, index, 0).cummax(1).values  # 0: none yet
    base = torch.cat((torch.zeros_like(before_cycles), sums), 1).gather(1, last)
    return torch.remainder(sums - base, 1.0)
