"""Notes in frames, as compiled loops: computes what `NotePrior.contributions` does and their sum, with texture and guide."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.formats import GuideBin
from specdiffd.base.loops import compiled, inlined
from specdiffd.prior.dense_kernels import HALF, ONE, TWO, Floats, product
from specdiffd.prior.envelope_kernels import EnvelopeArrays, EnvelopeWork, Moment, shape_weights
from specdiffd.prior.extrapolation_kernels import held_on, is_released_early, release_like_longer, release_ratio
from specdiffd.prior.gains_kernels import gains_at
from specdiffd.prior.guide_kernels import (
    GuideColumns,
    GuideSums,
    PartialPlaces,
    guide_columns,
    guide_onset,
    guide_partials,
    guide_sums,
    vibrato_semitones,
)
from specdiffd.prior.mixing_kernels import MixSums, limit_texture, mix_note, mix_sums, roughness_of_bin
from specdiffd.prior.timbre_kernels import Timbre, TimbreTable, timbre_of


class NotesInFrames(NamedTuple):
    """N notes in F frames, as `note_features.NoteFeatures`."""

    rows: NDArray[np.int64]  # (N,) of the timbres in their table
    active: NDArray[np.bool_]  # (N, F)
    noise_rows: NDArray[np.int64]  # (N, F) of the noise that is the note's in the frame
    age_s: Floats  # (N, F), as all that follow
    release_s: Floats
    choke_s: Floats
    pedal: Floats
    modulation: Floats
    gain: Floats


class Constants(NamedTuple):
    """What is the same for all notes and frames."""

    envelope: EnvelopeArrays
    detail_ages_s: Floats  # (J,) of the timbres' gains
    beats: Floats  # (mel,) variance that beats add where no note has more than a small part of the power
    noise: Floats  # (rows, mel) of variance 1
    floor: np.float32  # power of a silent bin
    no_guide: GuideBin


class HeardArrays(NamedTuple):
    """`playing.Heard` as arrays, which are filled in."""

    mel: Floats  # (F, mel)
    texture: Floats  # (F, mel)
    guide: Floats  # (F, mel, 5)


class Work(NamedTuple):
    """Room for one note in one frame."""

    envelope: EnvelopeWork
    weights: Floats  # (K,)
    release_ratio: Floats  # (K,)
    longer: Floats  # (K,)
    power: Floats  # (mel,)
    rough_power: Floats  # (mel,)
    gains: Floats  # (mel,)
    levels: Floats  # (H,)


@inlined
def room_for(table: TimbreTable) -> Work:
    """Room for one note in one frame."""
    width, shapes, bins, harmonics = table.envelope.shape[1], table.shapes.shape[1], table.shapes.shape[2], table.position.shape[1]
    return Work(
        EnvelopeWork(np.empty(width, np.float32), np.empty(width, np.float32)),
        np.empty(shapes, np.float32),
        np.empty(shapes, np.float32),
        np.empty(shapes, np.float32),
        np.empty(bins, np.float32),
        np.empty(bins, np.float32),
        np.empty(bins, np.float32),
        np.empty(harmonics, np.float32),
    )


@inlined
def weigh_shapes(net: EnvelopeArrays, timbre: Timbre, at: Moment, ratio_known: bool, work: Work) -> bool:
    """Fill ``work.weights`` with those of a note's shapes in a frame.

    Args:
        net: of the envelope.
        timbre: the note's.
        at: the note's ages and controllers in the frame.
        ratio_known: whether ``work.release_ratio`` is this note's.
        work: is filled in.

    Returns:
        Whether ``work.release_ratio`` now is this note's.
    """
    held = held_on(at, timbre.sustain_start_s, timbre.sustain_rate)
    shape_weights(net, timbre.envelope, held, work.envelope, work.weights)
    if is_released_early(at, timbre.slow_attack, net.release_known_s, net.scale.window_s):
        if not ratio_known:
            release_ratio(net, timbre.envelope, at.age_s - at.release_s, work.envelope, work.longer, work.release_ratio)
            ratio_known = True
        release_like_longer(net, timbre.envelope, held, work.release_ratio, work.envelope, work.longer, work.weights)
    return ratio_known


@inlined
def sound(timbre: Timbre, age_s: np.float32, detail_ages_s: Floats, work: Work) -> None:
    """Fill ``work`` with a note's power, power times roughness, gains and levels of partials in a frame, from ``work.weights``."""
    product(work.weights, timbre.shapes, work.power)
    product(work.weights, timbre.rough_shapes, work.rough_power)
    product(work.weights, timbre.partials, work.levels)
    gains_at(age_s, detail_ages_s, timbre.colours, work.gains)
    power, rough_power, gains = work.power, work.rough_power, work.gains
    for m in range(len(power)):
        power[m] *= gains[m]
        rough_power[m] *= gains[m]


@inlined
def add_note(
    c: Constants, timbre: Timbre, notes: NotesInFrames, n: int, mix: MixSums, guide: GuideColumns, onsets: GuideSums, work: Work
) -> None:
    """Add note ``n`` to the sums and the guide, in all frames in which it may be heard."""
    net, window_s, ratio_known = c.envelope, c.envelope.scale.window_s, False
    places = PartialPlaces(timbre.position, timbre.glide)
    for f in range(notes.active.shape[1]):
        if not notes.active[n, f]:
            continue
        age_s, modulation = notes.age_s[n, f], notes.modulation[n, f]
        at = Moment(age_s, notes.release_s[n, f], notes.choke_s[n, f], notes.pedal[n, f], modulation, notes.gain[n, f])
        ratio_known = weigh_shapes(net, timbre, at, ratio_known, work)
        sound(timbre, age_s, c.detail_ages_s, work)
        mix_note(mix, f, work.power, work.rough_power, c.noise[notes.noise_rows[n, f]], age_s < window_s)
        guide_onset(guide, onsets, f, work.power, -age_s / window_s)
        semitones = vibrato_semitones(age_s + HALF * window_s, modulation)
        guide_partials(guide, onsets, f, work.levels, work.gains, places, semitones)


@inlined
def finish_frame(c: Constants, f: int, mix: MixSums, onsets: GuideSums, guide: GuideColumns, heard: HeardArrays) -> None:
    """Fill frame ``f`` of what is heard from the sums over its notes."""
    audible = np.exp(TWO * c.no_guide.log_amplitude)
    mel, texture, attack_share = heard.mel[f], heard.texture[f], mix.attack_power[f]
    power, power_squared, partial_power = mix.power[f], mix.power_squared[f], onsets.partial_power[f]
    rough_power, rough_squared, rough_noise = mix.rough_power[f], mix.rough_power_squared[f], mix.rough_noise[f]
    sounding_power, onset_power, beats = onsets.sounding_power[f], onsets.onset_power[f], c.beats
    offset_bins, log_amplitude = guide.offset_bins[f], guide.log_amplitude[f]
    sounding_share, onset_share = guide.sounding_share[f], guide.onset_share[f]
    for m in range(len(mel)):
        with_floor = power[m] + c.floor
        mel[m] = HALF * math.log(with_floor)
        roughness = roughness_of_bin(power[m], power_squared[m], rough_power[m], with_floor, beats[m])
        # Each note's noise has the share that the note has of what is rough.
        texture[m] = roughness * rough_noise[m] / math.sqrt(rough_squared[m] + c.floor * c.floor)
        log_amplitude[m] = c.no_guide.log_amplitude
        if partial_power[m] > audible:
            log_amplitude[m] = HALF * math.log(partial_power[m])
        else:
            offset_bins[m] = c.no_guide.offset_bins
        sounding_share[m] = (sounding_power[m] + c.floor) / with_floor
        onset_share[m] = min(onset_power[m] / with_floor, ONE)
        attack_share[m] /= with_floor
    limit_texture(mel, attack_share, texture)


@compiled
def hear(c: Constants, table: TimbreTable, notes: NotesInFrames, heard: HeardArrays) -> None:
    """Fill ``heard`` with what the notes are together."""
    frames, bins = heard.mel.shape
    mix, onsets, work = mix_sums(frames, bins), guide_sums(frames, bins), room_for(table)
    guide = guide_columns(heard.guide)
    for n in range(len(notes.rows)):
        add_note(c, timbre_of(table, notes.rows[n]), notes, n, mix, guide, onsets, work)
    for f in range(frames):
        finish_frame(c, f, mix, onsets, guide, heard)
