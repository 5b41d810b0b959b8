"""Onset gates: factors on amplitudes, from the score, so that nothing sounds before its onset.

A mel shows an onset in all frames whose windows contain it, so the networks alone would begin a note up to 40 ms early. The score gives
the sample. `onset_gate_kernels` has the compiled form of :func:`hop_gain`.

Onsets are (B, T, mel, 2), one row per hop: the share of a bin's power that belongs to notes beginning within this hop and the next, and
where in these two hops they begin, 0 to 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.onset_gate_kernels import LEAST_SHARE

ATTACK_S = 0.0005  # from the onset to the full amplitude: shorter would click, longer would soften drums


class OnsetGate(NamedTuple):
    """A factor on the amplitude that rises at an onset in each stretch."""

    onset_samples: Tensor  # (B, M, K) from the beginning of the stretch
    gain_before: Tensor  # (B, M, K) until then; 1: there is no onset
    attack_samples: float  # from the onset until the factor is 1

    def gain_at(self, sample: Tensor) -> Tensor:
        """The factor at ``sample`` of the stretch, which is broadcast against the fields."""
        risen = ((sample - self.onset_samples) / self.attack_samples).clamp(0.0, 1.0)
        return self.gain_before + (1 - self.gain_before) * risen


def attack_samples(config: VocoderConfig) -> float:
    """Length of an attack."""
    return ATTACK_S * config.sample_rate_hz


def oscillator_gate(onsets: Tensor, config: VocoderConfig) -> OnsetGate:
    """The gate of each oscillator in each subframe, from the onsets of its bin."""
    c = config
    share, place = onsets[:, :, : c.oscillators].unbind(-1)  # (B, T, oscillators)
    subframe_samples = torch.arange(c.subframes, device=share.device)[:, None] * c.sub_hop_samples
    onset_samples = (2 * c.hop_samples * place)[:, :, None] - subframe_samples
    gain_before = (1 - share).sqrt()[:, :, None].expand_as(onset_samples)
    return OnsetGate(onset_samples.flatten(1, 2), gain_before.flatten(1, 2), attack_samples(c))


def hop_gain(onsets: Tensor, config: VocoderConfig) -> Tensor:
    """The factor (B, samples) on sound that is not split into bins, from the mean of the onsets over the bins."""
    c = config
    share, place = onsets.unbind(-1)
    mean_share = share.mean(-1, keepdim=True)
    onset_samples = 2 * c.hop_samples * (share * place).mean(-1, keepdim=True) / mean_share.clamp_min(float(LEAST_SHARE))
    gate = OnsetGate(onset_samples, (1 - mean_share).sqrt(), attack_samples(c))
    return gate.gain_at(torch.arange(c.hop_samples, device=share.device)).flatten(1)
