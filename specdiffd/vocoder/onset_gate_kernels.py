"""The onset gate of a whole hop, compiled to play: the same as `onset_gate.hop_gain` times the audio."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import compiled

Floats = NDArray[np.float32]
f32 = np.float32
ZERO, ONE, TWO = f32(0), f32(1), f32(2)
LEAST_SHARE = f32(1e-6)  # keeps the mean place finite where nothing begins
SHARE, PLACE = 0, 1  # along the last dimension of onsets


@compiled
def gate_hop(attack_samples: np.float32, onsets: Floats, audio: Floats) -> None:
    """Multiply one hop's ``audio`` (samples,) by its gate, from the mean of ``onsets`` (mel, 2)."""
    bins, mean_share, mean_place = len(onsets), ZERO, ZERO
    for k in range(bins):
        mean_share += onsets[k, SHARE]
        mean_place += onsets[k, SHARE] * onsets[k, PLACE]
    mean_share, mean_place = mean_share / f32(bins), mean_place / f32(bins)
    if mean_share == ZERO:
        return
    onset_samples, gain_before = TWO * f32(len(audio)) * mean_place / max(mean_share, LEAST_SHARE), math.sqrt(ONE - mean_share)
    for n in range(len(audio)):
        risen = min(max((f32(n) - onset_samples) / attack_samples, ZERO), ONE)
        audio[n] *= gain_before + (ONE - gain_before) * risen


@compiled
def gate_hops(attack_samples: np.float32, onsets: Floats, audio: Floats) -> None:
    """Multiply all hops of ``audio`` (B, T, hop) by their gates, in place, from ``onsets`` (B, T, mel, 2)."""
    for b in range(audio.shape[0]):
        for t in range(audio.shape[1]):
            gate_hop(attack_samples, onsets[b, t], audio[b, t])
