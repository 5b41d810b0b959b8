"""Outputs of the networks and the guide, as inputs of the signal processing."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class RawHeads(NamedTuple):
    """Outputs of the networks, one row per subframe."""

    log_amplitude: Tensor  # (B, M, oscillators) nepers
    frequency_offset: Tensor  # (B, M, oscillators) from the bin's centre, -1 to 1 half widths of the bin
    log_noise: Tensor  # (B, M, noise_bins) nepers
    log_envelope: Tensor  # (B, M, envelope_points) nepers


class Heads(NamedTuple):
    """Inputs of tones, noise and levels: one row per subframe (M) or per hop (T)."""

    log_amplitude: Tensor  # (B, M, oscillators) nepers
    frequency_offset: Tensor  # (B, M, oscillators) from the bin's centre, in half widths of the bin
    log_noise: Tensor  # (B, M, noise_bins) nepers
    log_envelope: Tensor  # (B, M, envelope_points) nepers
    onsets: Tensor  # (B, T, mel, 2) see `onset_gate`
    log_mel_ceiling: Tensor  # (B, T, mel) largest log mel of the bin and its neighbours in the frames whose windows contain the hop
    target_frames: Tensor  # (B, T, mel, FRAME_FIELDS) the frames whose windows begin with the hop before
