"""A note over time, as compiled loops: computes what `specdiffd.prior.envelope` does."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    hat_s: Floats  # (1,) distance of the hats; if it were a number, the loop would multiply by its reciprocal, which rounds differently
    window_s: np.float32  # of a frame: the first hat lies this long before the event
    never_s: np.float32  # older ages have the same features


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


class Moments(NamedTuple):
    """One note at P moments, (P,) each, as `note_features.OverTime`."""

    age_s: Floats
    release_s: Floats
    choke_s: Floats
    pedal: Floats
    modulation: Floats
    gain: Floats


@inlined
def add_ages(ages_s: Floats, mask: NDArray[np.bool_], rows: AgeWeights, scale: AgeScale, y: Floats) -> None:
    """Add to ``y`` (P, frame_width) what the features of ages (P,) add in the first layer, where ``mask`` (P,) is set. Nearly all hats are 0."""
    hats, decays, log, happened, decays_s, hat_s = rows.hats, rows.decays, rows.log, rows.happened, scale.decays_s, scale.hat_s
    for p in range(len(ages_s)):
        since = ages_s[p] + scale.window_s
        if not mask[p] or since <= ZERO:
            continue
        place = since / hat_s[0]
        if place < f32(len(hats)):
            hat = int(place)
            fraction = place - f32(hat)
            add_scaled(ONE - fraction, hats[hat], y[p])
            if hat + 1 < len(hats):
                add_scaled(fraction, hats[hat + 1], y[p])
        past = max(ages_s[p], ZERO)
        for d in range(len(decays_s)):
            add_scaled(exp(max(-past / decays_s[d], LOWEST_EXPONENT)), decays[d], y[p])
        add_scaled(f32(math.log1p(min(past, scale.never_s) * f32(50))) * f32(0.25), log, y[p])
        add_scaled(ONE, happened, y[p])


@compiled
def shape_weights(net: EnvelopeArrays, envelope: Floats, at: Moments, mask: NDArray[np.bool_], weights: Floats) -> None:
    """`envelope.shape_weights` of one note: fill the rows of ``weights`` (P, K) where ``mask`` (P,) is set; ``envelope`` (frame_width,).

    One call takes all moments. Each call counts references to every array of the network: with a call for each moment that was a third of
    the prior's time.
    """
    first, second = np.empty((len(mask), len(envelope)), np.float32), np.empty(len(envelope), np.float32)
    bias, pedal, modulation = net.bias, net.pedal, net.modulation
    for p in range(len(mask)):
        for o in range(len(envelope)):
            first[p, o] = envelope[o] + bias[o]
    add_ages(at.age_s, mask, net.age, net.scale, first)
    add_ages(at.release_s, mask, net.release, net.scale, first)
    add_ages(at.choke_s, mask, net.choke, net.scale, first)
    hidden, out = net.hidden, net.out
    for p in range(len(mask)):
        if not mask[p]:
            continue
        if at.pedal[p] != ZERO:
            add_scaled(at.pedal[p], pedal, first[p])
        if at.modulation[p] != ZERO:
            add_scaled(at.modulation[p], modulation, first[p])
        gelu_all(first[p])
        affine(first[p], hidden, second)
        gelu_all(second)
        affine(second, out, weights[p])
        for k in range(weights.shape[1]):
            weights[p, k] = exp(max(TWO * (min(max(weights[p, k], f32(-16)), f32(6)) + at.gain[p]), LOWEST_EXPONENT))
