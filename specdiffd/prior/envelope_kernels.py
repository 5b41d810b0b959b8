"""A note over time, as compiled loops: computes what `specdiffd.prior.envelope` does."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from specdiffd.base.loops import compiled, exp, inlined
from specdiffd.prior.dense_kernels import LOWEST_EXPONENT, ONE, TWO, ZERO, Floats, Layer, add_scaled, affine, f32, gelu_all


class AgeWeights(NamedTuple):
    """The rows of the first layer that belong to the features of one age (`envelope.age_features`)."""

    hats: Floats  # (hats, frame_width)
    decays: Floats  # (decays, frame_width)
    log: Floats  # (frame_width,)
    happened: Floats  # (frame_width,)


class AgeScale(NamedTuple):
    """How an age is turned into features."""

    decays_s: Floats  # time constants of the exponentials
    hat_s: np.float32  # distance of the hats
    window_s: np.float32  # of a frame: the first hat lies so long before the event
    never_s: np.float32  # ages beyond it are all the same


class EnvelopeArrays(NamedTuple):
    """`envelope.EnvelopeNetwork` as arrays: what gives the weights of a note's shapes in a frame."""

    age: AgeWeights
    release: AgeWeights
    choke: AgeWeights
    pedal: Floats  # (frame_width,)
    modulation: Floats  # (frame_width,)
    bias: Floats  # (frame_width,)
    hidden: Layer
    out: Layer
    scale: AgeScale
    release_known_s: np.float32  # see `config.RELEASE_KNOWN_S`


class Moment(NamedTuple):
    """One note in one frame, as `note_features.OverTime`."""

    age_s: np.float32
    release_s: np.float32
    choke_s: np.float32
    pedal: np.float32
    modulation: np.float32
    gain: np.float32


class EnvelopeWork(NamedTuple):
    """Room for intermediate results, (frame_width,) each."""

    first: Floats
    second: Floats


@inlined
def add_age(age_s: np.float32, rows: AgeWeights, scale: AgeScale, y: Floats) -> None:
    """Add to ``y`` (frame_width,) what the features of an age do in the first layer; nearly all hats are 0."""
    since = age_s + scale.window_s
    if since <= ZERO:
        return
    place, hats = since / scale.hat_s, len(rows.hats)
    if place < f32(hats):
        hat = int(place)
        fraction = place - f32(hat)
        add_scaled(ONE - fraction, rows.hats[hat], y)
        if hat + 1 < hats:
            add_scaled(fraction, rows.hats[hat + 1], y)
    past = max(age_s, ZERO)
    for d in range(len(scale.decays_s)):
        add_scaled(exp(max(-past / scale.decays_s[d], LOWEST_EXPONENT)), rows.decays[d], y)
    add_scaled(f32(math.log1p(min(past, scale.never_s) * f32(50))) * f32(0.25), rows.log, y)
    add_scaled(ONE, rows.happened, y)


@compiled
def shape_weights(net: EnvelopeArrays, envelope: Floats, at: Moment, work: EnvelopeWork, weights: Floats) -> None:
    """`envelope.shape_weights`: fill ``weights`` (K,) with those of a note's shapes in a frame; ``envelope`` (frame_width,)."""
    x, y = work.first, work.second
    for o in range(len(x)):
        x[o] = envelope[o] + net.bias[o]
    add_age(at.age_s, net.age, net.scale, x)
    add_age(at.release_s, net.release, net.scale, x)
    add_age(at.choke_s, net.choke, net.scale, x)
    if at.pedal != ZERO:
        add_scaled(at.pedal, net.pedal, x)
    if at.modulation != ZERO:
        add_scaled(at.modulation, net.modulation, x)
    gelu_all(x)
    affine(x, net.hidden, y)
    gelu_all(y)
    affine(y, net.out, weights)
    for k in range(len(weights)):
        weights[k] = exp(max(TWO * (min(max(weights[k], f32(-16)), f32(6)) + at.gain), LOWEST_EXPONENT))
