"""Notes in frames, as compiled loops: the same as `NotePrior.contributions` and their sum, with texture and guide."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.formats import GuideBin
from specdiffd.base.loops import compiled, inlined
from specdiffd.prior.dense_kernels import HALF, ONE, TWO, Floats, product
from specdiffd.prior.envelope_kernels import EnvelopeArrays, Moments, shape_weights
from specdiffd.prior.extrapolation_kernels import held_on, release_like_longer, released_early
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
    noise_rows: NDArray[np.int64]  # (N, F) row of the noise for the note in the frame
    age_s: Floats  # (N, F), like the fields below
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
    """`playing.Heard` as arrays to fill."""

    mel: Floats  # (F, mel)
    texture: Floats  # (F, mel)
    guide: Floats  # (F, mel, 5)


class Work(NamedTuple):
    """Buffers for one note in one frame."""

    power: Floats  # (mel,)
    rough_power: Floats  # (mel,)
    gains: Floats  # (mel,)
    levels: Floats  # (H,)


@inlined
def work_buffers(table: TimbreTable) -> Work:
    """Buffers for one note in one frame."""
    bins, harmonics = table.shapes.shape[2], table.position.shape[1]
    return Work(np.empty(bins, np.float32), np.empty(bins, np.float32), np.empty(bins, np.float32), np.empty(harmonics, np.float32))


@inlined
def moments_of(notes: NotesInFrames, n: int) -> Moments:
    """Note ``n`` in all frames, as views."""
    return Moments(notes.age_s[n], notes.release_s[n], notes.choke_s[n], notes.pedal[n], notes.modulation[n], notes.gain[n])


@compiled
def weigh_shapes(net: EnvelopeArrays, timbre: Timbre, at: Moments, active: NDArray[np.bool_], weights: Floats) -> None:
    """Fill ``weights`` (F, K) with those of a note's shapes, in the frames where ``active`` (F,) is set."""
    held = held_on(at, timbre.sustain_start_s, timbre.sustain_rate)
    shape_weights(net, timbre.envelope, held, active, weights)
    if timbre.slow_attack:
        early = active & released_early(at, net.release_known_s, net.scale.window_s)
        if early.any():
            release_like_longer(net, timbre.envelope, at, held, early, weights)


@inlined
def sound(timbre: Timbre, weights: Floats, age_s: np.float32, detail_ages_s: Floats, work: Work) -> None:
    """Fill ``work`` for a note in a frame, from the ``weights`` (K,) of its shapes."""
    product(weights, timbre.shapes, work.power)
    product(weights, timbre.rough_shapes, work.rough_power)
    product(weights, timbre.partials, work.levels)
    gains_at(age_s, detail_ages_s, timbre.colours, work.gains)
    power, rough_power, gains = work.power, work.rough_power, work.gains
    for m in range(len(power)):
        power[m] *= gains[m]
        rough_power[m] *= gains[m]


@inlined
def add_note(
    c: Constants, timbre: Timbre, notes: NotesInFrames, n: int, mix: MixSums, guide: GuideColumns, onsets: GuideSums, work: Work
) -> None:
    """Add note ``n`` to the sums and the guide, in all frames where it may be heard."""
    active, noise_rows, window_s = notes.active[n], notes.noise_rows[n], c.envelope.scale.window_s
    at, places = moments_of(notes, n), PartialPlaces(timbre.position, timbre.glide)
    weights = np.empty((len(active), len(timbre.shapes)), np.float32)
    weigh_shapes(c.envelope, timbre, at, active, weights)
    for f in range(len(active)):
        if active[f]:
            age_s = at.age_s[f]
            sound(timbre, weights[f], age_s, c.detail_ages_s, work)
            mix_note(mix, f, work.power, work.rough_power, c.noise[noise_rows[f]], age_s < window_s)
            guide_onset(guide, onsets, f, work.power, -age_s / window_s)
            semitones = vibrato_semitones(age_s + HALF * window_s, at.modulation[f])
            guide_partials(guide, onsets, f, work.levels, work.gains, places, semitones)


@inlined
def finish_frame(c: Constants, f: int, mix: MixSums, onsets: GuideSums, guide: GuideColumns, heard: HeardArrays) -> None:
    """Fill frame ``f`` of ``heard`` from the sums over its notes."""
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
        # Each note's noise is weighted by the note's share of the rough power.
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
    """Fill ``heard`` with the sum of the notes."""
    frames, bins = heard.mel.shape
    mix, onsets, work = mix_sums(frames, bins), guide_sums(frames, bins), work_buffers(table)
    guide = guide_columns(heard.guide)
    for n in range(len(notes.rows)):
        add_note(c, timbre_of(table, notes.rows[n]), notes, n, mix, guide, onsets, work)
    for f in range(frames):
        finish_frame(c, f, mix, onsets, guide, heard)
