"""Notes together, as compiled loops: the same as `specdiffd.prior.mixing`, and the texture, which only playing has."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from specdiffd.base.loops import inlined
from specdiffd.prior.dense_kernels import ONE, ZERO, Floats, f32

# Texture may make a bin louder than the loudest bin of its frame by this much; at an attack not at all. Neighbouring bins have similar
# noise: where a few bins are the whole sound, as in a bird's tweet or an attack, it made bursts of up to 9 dB. With 0 everywhere, sounds
# were 0.1 dB too soft and cymbals dull. With 0.4 at attacks too, a harp and a glockenspiel burst by 10 dB.
OVER_LOUDEST_NEPERS = f32(0.4)


class MixSums(NamedTuple):
    """Sums over the notes, (F, mel) each."""

    power: Floats
    power_squared: Floats
    rough_power: Floats  # power times roughness
    rough_power_squared: Floats
    rough_noise: Floats  # power times roughness times the note's noise
    attack_power: Floats  # of notes whose onset is less than a window before the frame's first sample, or in the frame


@inlined
def mix_sums(frames: int, bins: int) -> MixSums:
    """Sums of no notes."""
    sums = np.zeros((6, frames, bins), np.float32)
    return MixSums(sums[0], sums[1], sums[2], sums[3], sums[4], sums[5])


@inlined
def mix_note(sums: MixSums, f: int, power: Floats, rough_power: Floats, noise: Floats, attacks: np.bool_) -> None:
    """Add a note to frame ``f``.

    Args:
        sums: over the notes; changed in place.
        f: number of the frame.
        power, rough_power, noise: (mel,) of the note: power, power times roughness, noise of variance 1.
        attacks: whether the note's onset is less than a window before the frame's first sample, or in the frame.
    """
    power_sum, power_squared, attack_power = sums.power[f], sums.power_squared[f], sums.attack_power[f]
    rough_sum, rough_squared, rough_noise = sums.rough_power[f], sums.rough_power_squared[f], sums.rough_noise[f]
    for m in range(len(power)):
        power_sum[m] += power[m]
        power_squared[m] += power[m] * power[m]
        rough_sum[m] += rough_power[m]
        rough_squared[m] += rough_power[m] * rough_power[m]
        rough_noise[m] += rough_power[m] * noise[m]
    if attacks:
        for m in range(len(power)):
            attack_power[m] += power[m]


@inlined
def roughness_of_bin(
    power: np.float32, power_squared: np.float32, rough_power: np.float32, with_floor: np.float32, beats: np.float32
) -> np.float32:
    """`mixing.mean_roughness` of one bin, in nepers, from its `MixSums`.

    Args:
        power: of the notes together.
        power_squared: sum over the notes of their squared powers.
        rough_power: of the notes together.
        with_floor: ``power`` plus that of a silent bin.
        beats: variance that beats add where no note has more than a small part of the power.
    """
    mean, sounding = rough_power / with_floor, power / with_floor
    different_notes = max(sounding * sounding - power_squared / (with_floor * with_floor), ZERO)
    return f32(math.sqrt(mean * mean + beats * different_notes))


@inlined
def limit_texture(mel: Floats, attack_share: Floats, texture: Floats) -> None:
    """Limit a frame's ``texture`` so that no bin of ``mel`` gets much louder than the loudest one; (mel,) each.

    ``attack_share`` is the share of the power that belongs to notes that have just begun, 0 to 1.
    """
    loudest = mel.argmax()
    ceiling = mel[loudest] + OVER_LOUDEST_NEPERS * (ONE - attack_share[loudest])
    for m in range(len(mel)):
        texture[m] = min(texture[m], max(ceiling - mel[m], ZERO))
