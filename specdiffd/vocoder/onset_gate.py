"""Nothing sounds before its onset: factors on amplitudes, from what the score says of onsets.

A mel shows an onset in all frames whose windows contain it, so the networks alone would begin a note up to 40 ms early. The score knows
the sample. What plays the gate of a whole hop is in `onset_gate_kernels`, and computes the same as :func:`hop_gain`.

Onsets are (B, T, mel, 2), one row per hop: of a bin's power the share of the notes that begin within the two hops from this one on,
and where in these two hops they begin, 0 to 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.vocoder.config import VocoderConfig

ATTACK_S = 0.0005  # from the onset to the full amplitude: at once would click, later would soften drums
LEAST_SHARE = 1e-6  # keeps the mean place finite where nothing begins


class OnsetGate(NamedTuple):
    """A factor on the amplitude that rises at an onset in each stretch."""

    onset_samples: Tensor  # (B, M, K) from the beginning of the stretch
    gain_before: Tensor  # (B, M, K) until then; 1: there is no onset
    attack_samples: float  # from there on until the factor is 1

    def gain_at(self, sample: Tensor) -> Tensor:
        """The factor at ``sample`` of the stretch, which is broadcast against the fields."""
        risen = ((sample - self.onset_samples) / self.attack_samples).clamp(0.0, 1.0)
        return self.gain_before + (1 - self.gain_before) * risen


def attack_samples(config: VocoderConfig) -> float:
    """Length of an attack."""
    return ATTACK_S * config.sample_rate_hz


def oscillator_gate(onsets: Tensor, config: VocoderConfig) -> OnsetGate:
    """The gate of each oscillator in each subframe, by the onsets of its own bin."""
    c = config
    share, place = onsets[:, :, : c.oscillators].unbind(-1)  # (B, T, oscillators)
    subframe_samples = torch.arange(c.subframes, device=share.device)[:, None] * c.sub_hop_samples
    onset_samples = (2 * c.hop_samples * place)[:, :, None] - subframe_samples
    gain_before = (1 - share).sqrt()[:, :, None].expand_as(onset_samples)
    return OnsetGate(onset_samples.flatten(1, 2), gain_before.flatten(1, 2), attack_samples(c))


def hop_gain(onsets: Tensor, config: VocoderConfig) -> Tensor:
    """The factor on sound that has no bins (B, samples), by the mean of the onsets over the bins."""
    c = config
    share, place = onsets.unbind(-1)
    mean_share = share.mean(-1, keepdim=True)
    onset_samples = 2 * c.hop_samples * (share * place).mean(-1, keepdim=True) / mean_share.clamp_min(LEAST_SHARE)
    gate = OnsetGate(onset_samples, (1 - mean_share).sqrt(), attack_samples(c))
    return gate.gain_at(torch.arange(c.hop_samples, device=share.device)).flatten(1)
