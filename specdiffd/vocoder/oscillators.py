"""A bank of sinusoids: differentiable for training, and as loops for playing.

Between two ends of a stretch an oscillator's frequency is constant and its amplitude linear. Training needs operations that
PyTorch can differentiate; playing needs few samples of many oscillators at once, for which a loop that turns each by its
angle is several times faster than a sine for every sample.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specdiffd.loops import compiled

Rows = NDArray[np.float32]


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

    Args:
        start: phase at the first sample, in cycles (B, M, K).
        per_sample: frequency in cycles per sample (B, M, K).
        before, amplitude: at the end of the stretch before and at the end of this one (B, M, K).
        samples: length of the stretch.
        gate: a factor on the amplitude.

    Returns:
        (B, M, samples)
    """
    if torch.is_grad_enabled() or start.device.type != "cpu":
        return differentiable(start, per_sample, before, amplitude, samples, gate)
    turn = 2 * math.pi * torch.stack((start, per_sample))
    sines, cosines = (f(turn).flatten(1, 2).numpy() for f in (torch.sin, torch.cos))
    levels = [x.flatten(0, 1).contiguous().numpy() for x in (before, amplitude, gate.begins, gate.before)]  # one layout: compiled once
    wave = np.empty((sines.shape[1], samples), np.float32)
    _turn(sines[0], cosines[0], sines[1], cosines[1], *levels, gate.ramp, wave)  # type: ignore[arg-type,call-arg]
    return torch.from_numpy(wave).view(*start.shape[:2], samples)


@compiled
def _turn(
    sine: Rows,
    cosine: Rows,
    step_sine: Rows,
    step_cosine: Rows,
    before: Rows,
    after: Rows,
    begins: Rows,
    quiet: Rows,
    ramp: float,
    wave: Rows,
) -> None:
    """``wave`` (M, samples) from the first angle, the angle between samples, the levels at both ends and the gate, (M, K) each."""
    stretches, samples = wave.shape
    count = sine.shape[1]
    y, x, level, rise = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32)
    shut, per_sample = np.empty(count, np.float32), np.float32(1 / ramp)
    for m in range(stretches):
        last = np.float32(-ramp)
        for k in range(count):
            y[k], x[k] = sine[m, k], cosine[m, k]
            level[k] = before[m, k]
            rise[k] = (after[m, k] - before[m, k]) / np.float32(samples)
            shut[k] = 1 - quiet[m, k]
            if shut[k] > 0:
                last = max(last, begins[m, k])
        gated = min(samples, int(np.ceil(last + ramp)))
        for n in range(samples):
            total = np.float32(0)
            if n < gated:
                for k in range(count):
                    level[k] += rise[k]
                    closed = min(max(1 - (np.float32(n) - begins[m, k]) * per_sample, np.float32(0)), np.float32(1))
                    total += level[k] * (1 - shut[k] * closed) * y[k]
            else:
                for k in range(count):
                    level[k] += rise[k]
                    total += level[k] * y[k]
            for k in range(count):
                turned = x[k] * step_cosine[m, k] - y[k] * step_sine[m, k]
                y[k] = y[k] * step_cosine[m, k] + x[k] * step_sine[m, k]
                x[k] = turned
            wave[m, n] = total


def differentiable(start: Tensor, per_sample: Tensor, before: Tensor, amplitude: Tensor, samples: int, gate: Gate) -> Tensor:
    """As :func:`oscillate`: sin(a + b) is taken apart, so that a stretch is one small matrix product. The gate moves in steps of ``fine``."""
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
