"""Timbre, the part of a note that does not depend on time: spectral shapes, their roughness, gains. `timbre_kernels` is its compiled form."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.prior.config import BAND, PITCH_OCTAVES, PriorConfig
from specdiffd.prior.extrapolation import Sustain
from specdiffd.prior.partials import partial_responses, partials_hz


class Timbres(NamedTuple):
    """The timbres of N notes."""

    envelope: Tensor  # (N, frame_width) the note's input to the envelope network
    shapes: Tensor  # (N, K, mel) power
    rough_shapes: Tensor  # (N, K, mel) power of each shape times its roughness, a standard deviation in nepers
    colours: Tensor  # (N, J, mel) gains of the power at DETAIL_AGES_S, dynamics and details included
    sustain: Sustain


class NoteHeads(NamedTuple):
    """Outputs of the note network for N notes, before limits."""

    levels: Tensor  # (N, K * H) natural log amplitude of the partials of each shape
    spectrum: Tensor  # (N, K * mel) natural log amplitude of each shape without its partials
    inharmonicity: Tensor  # (N, 1) natural log
    envelope: Tensor  # (N, frame_width)
    roughness: Tensor  # (N, K * mel) natural log


def pitch_features(pitch: Tensor) -> Tensor:
    """(N,) semitones to (N, PITCH_FEATURES): linear, and sinusoids with periods from the whole keyboard down to a third."""
    scaled = (pitch - 64) / 64
    angles = scaled[:, None] * math.pi * torch.tensor(PITCH_OCTAVES, device=pitch.device)
    return torch.cat((scaled[:, None], angles.sin(), angles.cos()), -1)


def velocity_features(velocity: Tensor) -> Tensor:
    """(N,) 0 to 1 to (N, VELOCITY_FEATURES): linear, square and logarithm."""
    return torch.stack((velocity, velocity.square(), torch.log(velocity + 0.02)), -1)


def power_shapes(heads: NoteHeads, pitch: Tensor, lobes: Tensor, c: PriorConfig) -> Tensor:
    """Power spectra (N, K, mel): harmonic series at pitches (N,) in semitones, plus the free spectra."""
    levels = heads.levels.float().unflatten(-1, (c.shapes, c.harmonics)).clamp(-14.0, 6.0)
    spectrum = heads.spectrum.float().unflatten(-1, (c.shapes, c.mel_bins)).clamp(-14.0, 6.0)
    hertz = partials_hz(pitch, heads.inharmonicity.float().squeeze(-1), c.harmonics)
    return (2 * levels).exp() @ partial_responses(hertz, lobes, c.sample_rate_hz) + (2 * spectrum).exp()


def rough_shapes(heads: NoteHeads, shapes: Tensor, unrest: Tensor, c: PriorConfig) -> Tensor:
    """The shapes (N, K, mel) times their roughness, with the key's log gains ``unrest`` (N, bands). The shapes learn nothing from it."""
    roughness = heads.roughness.float().unflatten(-1, (c.shapes, c.mel_bins)).clamp(-6.0, 0.5).exp()
    return roughness * shapes.detach() * unrest.exp().repeat_interleave(BAND, -1)[:, None]
