"""Notes held for very long, or released while they rise, as compiled loops: computes what `specdiffd.prior.extrapolation` does."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from specdiffd.base.loops import compiled, inlined
from specdiffd.prior.config import ATTACK_AGES, DECAY_AGES, SUSTAIN_AGES, SUSTAIN_NEPERS_PER_S
from specdiffd.prior.dense_kernels import HALF, ZERO, Floats, f32
from specdiffd.prior.envelope_kernels import EnvelopeArrays, EnvelopeWork, Moment, shape_weights

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


@compiled
def held_level(
    net: EnvelopeArrays, envelope: Floats, shapes: Floats, gains: Floats, age_s: np.float32, work: EnvelopeWork, weights: Floats
) -> np.float32:
    """Level in nepers of a held note at an age: ``envelope`` (frame_width,), ``shapes`` (K, mel), ``gains`` (mel,) of their power."""
    shape_weights(net, envelope, Moment(age_s, -net.scale.never_s, -net.scale.never_s, ZERO, ZERO, ZERO), work, weights)
    power = f32(1e-30)
    for k in range(shapes.shape[0]):
        for m in range(shapes.shape[1]):
            power += weights[k] * shapes[k, m] * gains[m]
    return HALF * math.log(power)


@compiled
def sustain_of(net: EnvelopeArrays, envelope: Floats, shapes: Floats, gains: Floats) -> SustainOfNote:
    """`extrapolation.sustain_of`: ``envelope`` (frame_width,), ``shapes`` (K, mel), ``gains`` (mel,) of the last age."""
    work = EnvelopeWork(np.empty(len(envelope), np.float32), np.empty(len(envelope), np.float32))
    weights = np.empty(len(shapes), np.float32)
    sustain_first = held_level(net, envelope, shapes, gains, SUSTAIN_FIRST_S, work, weights)
    sustain_last = held_level(net, envelope, shapes, gains, SUSTAIN_LAST_S, work, weights)
    decay_first = held_level(net, envelope, shapes, gains, DECAY_FIRST_S, work, weights)
    decay_last = held_level(net, envelope, shapes, gains, DECAY_LAST_S, work, weights)
    attack_first = held_level(net, envelope, shapes, gains, ATTACK_FIRST_S, work, weights)
    attack_last = held_level(net, envelope, shapes, gains, ATTACK_LAST_S, work, weights)
    sustains = (sustain_last - sustain_first) / (SUSTAIN_LAST_S - SUSTAIN_FIRST_S) > -SUSTAIN_RATE
    start_s = SUSTAIN_LAST_S if sustains else DECAY_LAST_S
    rate = ZERO if sustains else min((decay_last - decay_first) / (DECAY_LAST_S - DECAY_FIRST_S), ZERO)
    return SustainOfNote(start_s, rate, attack_last > attack_first)


@inlined
def held_on(at: Moment, start_s: np.float32, rate: np.float32) -> Moment:
    """`extrapolation.held_on`: age and gain as the envelope network knows them."""
    gain = at.gain + rate * max(at.age_s - start_s, ZERO)
    return Moment(min(at.age_s, start_s), at.release_s, at.choke_s, at.pedal, at.modulation, gain)


@inlined
def is_released_early(at: Moment, slow_attack: np.bool_, release_known_s: np.float32, window_s: np.float32) -> bool:
    """Whether a note was released during a slow attack, so long ago that the network no longer knows how long it had been held."""
    length_s = at.age_s - at.release_s
    return bool(slow_attack and at.release_s > release_known_s and length_s < ATTACK_LAST_S and at.choke_s <= -window_s)


@inlined
def release_ratio(net: EnvelopeArrays, envelope: Floats, length_s: np.float32, work: EnvelopeWork, longer: Floats, ratio: Floats) -> None:
    """Fill ``ratio`` (K,): a note of ``length_s`` over one as long as the attack, shortly after each release; ``longer`` (K,) is for the work."""
    known_s, never_s = net.release_known_s, -net.scale.never_s
    shape_weights(net, envelope, Moment(length_s + known_s, known_s, never_s, ZERO, ZERO, ZERO), work, ratio)
    shape_weights(net, envelope, Moment(ATTACK_LAST_S + known_s, known_s, never_s, ZERO, ZERO, ZERO), work, longer)
    for k in range(len(ratio)):
        ratio[k] /= longer[k]


@inlined
def release_like_longer(
    net: EnvelopeArrays, envelope: Floats, at: Moment, ratio: Floats, work: EnvelopeWork, longer: Floats, weights: Floats
) -> None:
    """`extrapolation.released_early`: limit ``weights`` (K,) to ``ratio`` (K,) of a longer note's, which are filled into ``longer`` (K,)."""
    held = Moment(ATTACK_LAST_S + at.release_s, at.release_s, -net.scale.never_s, at.pedal, at.modulation, at.gain)
    shape_weights(net, envelope, held, work, longer)
    for k in range(len(weights)):
        weights[k] = min(weights[k], longer[k] * ratio[k])
