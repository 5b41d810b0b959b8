"""Sums of sinusoids, running phases and onset gates, as training differentiates them."""

import math

import pytest
import torch

from specdiffd.vocoder.onset_gate import OnsetGate
from specdiffd.vocoder.oscillators import oscillate, running_phases


@pytest.mark.parametrize("samples", [80, 240])
def test_oscillators_are_sines_of_linear_amplitude(samples: int) -> None:
    start, per_sample, before, amplitude = (torch.rand(1, 3, 5, generator=torch.Generator().manual_seed(k)) for k in range(4))
    per_sample = per_sample * 0.4
    n = torch.arange(samples)
    phase = 2 * math.pi * (start[..., None] + per_sample[..., None] * n)
    level = before[..., None] + (amplitude - before)[..., None] * (n + 1) / samples
    expected = (level * phase.sin()).sum(2)
    gate = OnsetGate(torch.zeros(1, 3, 5), torch.ones(1, 3, 5), 8.0)
    assert torch.allclose(oscillate(start, per_sample, before, amplitude, samples, gate), expected, atol=1e-4)


def test_oscillators_wait_for_their_moment() -> None:
    """Before the onset there is nothing, or the older notes' part, or everything; also if the onset lies in another stretch."""
    start, level = torch.full((1, 3, 1), 0.2), torch.ones(1, 3, 1)
    alone = oscillate(start, 0.01 * level, level, level, 80, OnsetGate(torch.zeros(1, 3, 1), level, 8.0))[0]
    gate = OnsetGate(torch.tensor([-80.0, 30.0, 100.0]).view(1, 3, 1), torch.tensor([0.0, 0.0, 0.5]).view(1, 3, 1), 8.0)
    heard = oscillate(start, 0.01 * level, level, level, 80, gate)[0]
    assert torch.allclose(heard[0], alone[0], atol=1e-5)
    assert heard[1, :25].abs().max() < 1e-5
    assert torch.allclose(heard[1, 44:], alone[1, 44:], atol=1e-5)
    assert torch.allclose(heard[2], 0.5 * alone[2], atol=1e-5)


def test_running_phases_start_anew_at_a_reset() -> None:
    reset = torch.tensor([0, 0, 0, 1, 0, 0], dtype=torch.bool)[None, :, None]
    sums = running_phases(torch.full((1, 6, 1), 0.25), torch.tensor([[[0.5]]]), reset)
    assert sums.flatten().tolist() == [0.75, 0.0, 0.25, 0.0, 0.25, 0.5]
