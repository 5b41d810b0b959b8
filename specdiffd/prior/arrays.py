"""The weights of a trained note prior as arrays for its compiled form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from specdiffd.base.mel_scale_kernels import MelAxis
from specdiffd.prior.config import (
    BAND,
    COLOUR_AGES_S,
    DECAYS_S,
    DETAIL_AGES,
    DETAIL_AGES_S,
    DETAIL_BINS,
    DYNAMICS,
    HAT_S,
    PITCH_OCTAVES,
    RELEASE_KNOWN_S,
    PriorConfig,
)
from specdiffd.prior.dense_kernels import Floats, Layer, f32
from specdiffd.prior.envelope_kernels import AgeScale, AgeWeights, EnvelopeArrays
from specdiffd.prior.gains import interpolation_place
from specdiffd.prior.gains_kernels import GainTables
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import NEVER_S
from specdiffd.prior.partials_kernels import LobeTable
from specdiffd.prior.timbre_kernels import NoteArrays

WEIGHT_STEPS = 32767  # weights of large layers are 16-bit integers: a new note spends most of its time reading weights from memory


class Affine(NamedTuple):
    """A linear layer, outputs first."""

    weight: Tensor  # (outputs, inputs)
    bias: Tensor  # (outputs,)


def array(x: Tensor) -> Floats:
    """A tensor of any shape as a contiguous array, without a copy if possible."""
    return np.ascontiguousarray(x.detach().float().cpu().numpy())


def float_layer(layer: nn.Linear | Affine) -> Layer:
    """A layer in single precision."""
    weight = array(layer.weight.T)
    return Layer(weight, np.ones(weight.shape[1], np.float32), array(layer.bias))


def short_layer(layer: nn.Linear | Affine) -> Layer:
    """A layer with 16-bit weights. A weight is wrong by at most 1 part in 65,000 of its output's largest weight."""
    weight, _, bias = float_layer(layer)
    scale = np.maximum(np.abs(weight).max(0), 1e-30) / WEIGHT_STEPS
    return Layer(np.round(weight / scale).astype(np.int16), scale.astype(np.float32), bias)


def note_arrays(prior: NotePrior) -> NoteArrays:
    """The weights that make a note's timbre."""
    c = prior.config
    first, second = (layer for layer in prior.note if isinstance(layer, nn.Linear))
    harmonics, spectrum, inharmonicity, envelope = prior.recall.weight.split(prior.recalled)
    return NoteArrays(
        program=array(prior.program.weight),
        key=array(prior.key.weight),
        memory=array(prior.memory.weight),
        octaves=np.array(PITCH_OCTAVES, np.float32),
        first=short_layer(first),
        second=short_layer(second),
        harmonics=short_layer(_with_memory(prior.harmonics, harmonics)),
        spectrum=short_layer(_with_memory(prior.spectrum, spectrum)),
        roughness=short_layer(_with_memory(prior.roughness, prior.recall_roughness.weight)),
        inharmonicity=float_layer(_with_memory(prior.inharmonicity, inharmonicity)),
        envelope=float_layer(_with_memory(prior.frame_note, envelope)),
        gains=_gain_tables(prior),
        lobes=LobeTable(array(prior.lobes), f32(c.sample_rate_hz / 2 / (len(prior.lobes) - 2))),
        axis=MelAxis(f32(c.lowest_mel + c.mels_per_bin), f32(1 / c.mels_per_bin)),
    )


def _with_memory(head: nn.Linear, recall: Tensor) -> Affine:
    """A head and the memory's addition to it, as one layer that reads both."""
    return Affine(torch.cat((head.weight, recall), 1), head.bias)


def _gain_tables(prior: NotePrior) -> GainTables:
    bins = prior.config.mel_bins
    upper, fraction = interpolation_place(torch.tensor(DETAIL_AGES_S), COLOUR_AGES_S)
    details = prior.details.cpu().numpy().reshape(-1, len(DETAIL_AGES_S) // DETAIL_AGES, bins // DETAIL_BINS)
    return GainTables(
        colours=array(prior.colours.weight).reshape(-1, len(COLOUR_AGES_S), bins),
        colour_upper=upper.numpy(),
        colour_fraction=array(fraction),
        dynamics=array(prior.dynamics.weight).reshape(-1, len(DYNAMICS), bins // BAND),
        velocities=np.array(DYNAMICS, np.float32),
        details=np.ascontiguousarray(details),
        patterns=array(prior.patterns).reshape(-1, DETAIL_AGES, DETAIL_BINS),
        roughness=array(prior.unrest.weight),
    )


def envelope_arrays(prior: NotePrior) -> EnvelopeArrays:
    """The envelope network: from a note's ages to the weights of its shapes."""
    c = prior.config
    hidden, out = (layer for layer in prior.weights if isinstance(layer, nn.Linear))
    rows = prior.frame.weight.T
    age, release, choke, pedal_and_modulation = rows.split((c.age_features, c.age_features, c.age_features, 2))
    pedal, modulation = pedal_and_modulation
    return EnvelopeArrays(
        age=_age_weights(age, c),
        release=_age_weights(release, c),
        choke=_age_weights(choke, c),
        pedal=array(pedal),
        modulation=array(modulation),
        bias=array(prior.frame.bias),
        hidden=float_layer(hidden),
        out=float_layer(out),
        scale=AgeScale(np.array(DECAYS_S, np.float32), np.array([HAT_S], np.float32), f32(c.window_s), f32(NEVER_S)),
        release_known_s=f32(RELEASE_KNOWN_S),
    )


def _age_weights(rows: Tensor, c: PriorConfig) -> AgeWeights:
    """Rows (age_features, frame_width) of the first layer, as `envelope.age_features` orders them."""
    hats, decays, log, happened = rows.split((c.hats, len(DECAYS_S), 1, 1))
    return AgeWeights(array(hats), array(decays), array(log[0]), array(happened[0]))
