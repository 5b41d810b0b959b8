"""Notes held for very long, or released while they rise, as compiled loops: the same as `specdiffd.prior.extrapolation`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import compiled, inlined
from specdiffd.prior.config import ATTACK_AGES, DECAY_AGES, SUSTAIN_AGES, SUSTAIN_NEPERS_PER_S
from specdiffd.prior.dense_kernels import HALF, ZERO, Floats, f32
from specdiffd.prior.envelope_kernels import EnvelopeArrays, Moments, shape_weights

# Typed: a Python float would make the loops compute in double precision.
SUSTAIN_FIRST_S, SUSTAIN_LAST_S = f32(SUSTAIN_AGES.first_s), f32(SUSTAIN_AGES.last_s)
DECAY_FIRST_S, DECAY_LAST_S = f32(DECAY_AGES.first_s), f32(DECAY_AGES.last_s)
ATTACK_FIRST_S, ATTACK_LAST_S = f32(ATTACK_AGES.first_s), f32(ATTACK_AGES.last_s)
SUSTAIN_RATE = f32(SUSTAIN_NEPERS_PER_S)


class SustainOfNote(NamedTuple):
    """`extrapolation.Sustain` of one note."""

    start_s: np.float32
    rate: np.float32  # nepers a second, not above 0
    slow_attack: np.bool_


@inlined
def moments(ages_s: Floats, release_s: np.float32, never_s: np.float32) -> Moments:
    """A note at ``ages_s`` (P,) and always ``release_s`` after its release; not choked, without pedal, modulation and gain."""
    none = np.zeros(len(ages_s), np.float32)
    return Moments(ages_s, none + release_s, none - never_s, none, none, none)


@inlined
def held_level(weights: Floats, shapes: Floats, gains: Floats) -> np.float32:
    """Level in nepers of a note: ``weights`` (K,) of its ``shapes`` (K, mel), with ``gains`` (mel,) of their power."""
    power = f32(1e-30)
    for k in range(shapes.shape[0]):
        for m in range(shapes.shape[1]):
            power += weights[k] * shapes[k, m] * gains[m]
    return HALF * math.log(power)


@compiled
def sustain_of(net: EnvelopeArrays, envelope: Floats, shapes: Floats, gains: Floats) -> SustainOfNote:
    """`extrapolation.sustain_of`: ``envelope`` (frame_width,), ``shapes`` (K, mel), ``gains`` (mel,) of the last age."""
    ages_s = np.array([SUSTAIN_FIRST_S, SUSTAIN_LAST_S, DECAY_FIRST_S, DECAY_LAST_S, ATTACK_FIRST_S, ATTACK_LAST_S])
    weights, levels = np.empty((len(ages_s), len(shapes)), np.float32), np.empty(len(ages_s), np.float32)
    shape_weights(net, envelope, moments(ages_s, -net.scale.never_s, net.scale.never_s), np.ones(len(ages_s), np.bool_), weights)
    for p in range(len(ages_s)):
        levels[p] = held_level(weights[p], shapes, gains)
    sustain_first, sustain_last, decay_first, decay_last, attack_first, attack_last = levels
    sustains = (sustain_last - sustain_first) / (SUSTAIN_LAST_S - SUSTAIN_FIRST_S) > -SUSTAIN_RATE
    start_s = SUSTAIN_LAST_S if sustains else DECAY_LAST_S
    rate = ZERO if sustains else min((decay_last - decay_first) / (DECAY_LAST_S - DECAY_FIRST_S), ZERO)
    return SustainOfNote(start_s, rate, attack_last > attack_first)


@inlined
def held_on(at: Moments, start_s: np.float32, rate: np.float32) -> Moments:
    """`extrapolation.held_on`: ages and gains as the envelope network knows them."""
    age_s, gain = np.empty_like(at.age_s), np.empty_like(at.gain)
    for p in range(len(age_s)):
        age_s[p] = min(at.age_s[p], start_s)
        gain[p] = at.gain[p] + rate * max(at.age_s[p] - start_s, ZERO)
    return Moments(age_s, at.release_s, at.choke_s, at.pedal, at.modulation, gain)


@inlined
def released_early(at: Moments, release_known_s: np.float32, window_s: np.float32) -> NDArray[np.bool_]:
    """Moments (P,) at which the network no longer knows that a note was shorter than its attack: it was released too long ago."""
    early = np.empty(len(at.age_s), np.bool_)
    for p in range(len(early)):
        short = at.age_s[p] - at.release_s[p] < ATTACK_LAST_S
        early[p] = short and at.release_s[p] > release_known_s and at.choke_s[p] <= -window_s
    return early


@compiled
def release_like_longer(
    net: EnvelopeArrays, envelope: Floats, at: Moments, held: Moments, early: NDArray[np.bool_], weights: Floats
) -> None:
    """`extrapolation.released_early`: limit ``weights`` (P, K) where ``early`` (P,) is set, which must be somewhere.

    Args:
        net: of the envelope.
        envelope: (frame_width,).
        at: the note before `held_on`.
        held: the note after `held_on`.
        early: from `released_early`.
        weights: from the network; changed in place.
    """
    known_s, length_s = net.release_known_s, (at.age_s - at.release_s)[np.argmax(early)]
    ages_s = np.array([length_s + known_s, ATTACK_LAST_S + known_s])
    just_released = np.empty((2, weights.shape[1]), np.float32)
    shape_weights(net, envelope, moments(ages_s, known_s, net.scale.never_s), np.ones(2, np.bool_), just_released)
    ratio, attack_long = just_released[0], just_released[1]
    for k in range(len(ratio)):
        ratio[k] /= attack_long[k]
    choke_s = np.full(len(early), -net.scale.never_s, np.float32)
    longer_at = Moments(ATTACK_LAST_S + at.release_s, at.release_s, choke_s, at.pedal, at.modulation, held.gain)
    longer = np.empty(weights.shape, np.float32)
    shape_weights(net, envelope, longer_at, early, longer)
    for p in range(len(early)):
        if early[p]:
            for k in range(weights.shape[1]):
                weights[p, k] = min(weights[p, k], longer[p, k] * ratio[k])
