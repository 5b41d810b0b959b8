"""The vocoder's guide, as compiled loops: what the score says and a mel spectrogram cannot show. Only playing has it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import inlined
from specdiffd.prior.dense_kernels import HALF, ONE, ZERO, Floats, f32

VIBRATO_HZ, VIBRATO_SEMITONES = f32(8.176), f32(0.5)  # SoundFont 2.04, 8.1.3 (freqVibLFO) and 8.4 (CC 1 to vibrato depth)


class GuideColumns(NamedTuple):
    """A guide's fields, views (F, mel) of it, as `formats.GuideBin`."""

    offset_bins: Floats
    log_amplitude: Floats
    sounding_share: Floats
    onset_share: Floats
    onset_place: Floats


class GuideSums(NamedTuple):
    """Sums and maxima over the notes that a guide is made from; (F, mel) each."""

    sounding_power: Floats  # each note's power times the share of the window after its onset
    onset_power: Floats  # of notes that begin within the frame's window
    loudest_onset_power: Floats  # of the strongest of those
    partial_power: Floats  # of the strongest partial near the bin's centre


class PartialPlaces(NamedTuple):
    """A note's partials on the mel axis, (H,) each: see `timbre_kernels.TimbreTable`."""

    position: Floats
    glide: Floats


@inlined
def guide_columns(guide: NDArray[np.float32]) -> GuideColumns:
    """The fields of a guide (F, mel, 5), set to 0."""
    guide[:] = ZERO
    return GuideColumns(guide[:, :, 0], guide[:, :, 1], guide[:, :, 2], guide[:, :, 3], guide[:, :, 4])


@inlined
def guide_sums(frames: int, bins: int) -> GuideSums:
    """Sums of no notes."""
    sums = np.zeros((4, frames, bins), np.float32)
    return GuideSums(sums[0], sums[1], sums[2], sums[3])


@inlined
def vibrato_semitones(age_s: np.float32, modulation: np.float32) -> np.float32:
    """Semitones by which the modulation wheel, 0 to 1, moves a note of this age: a triangle wave that starts rising at the onset.

    A mel spectrogram does not show it, least of all for low notes: its frames are too far apart and its bins too wide.
    """
    if modulation == ZERO or age_s <= ZERO:
        return ZERO
    turn = VIBRATO_HZ * age_s + f32(0.25)
    return modulation * VIBRATO_SEMITONES * (ONE - f32(4) * abs(turn - math.floor(turn) - HALF))


@inlined
def guide_onset(guide: GuideColumns, sums: GuideSums, f: int, power: Floats, onset_place: np.float32) -> None:
    """Add a note's ``power`` (mel,) to frame ``f``. Its onset lies at ``onset_place``: 0 is the window's beginning, 1 its end."""
    sounding_share = min(max(ONE - onset_place, ZERO), ONE)
    sounding_power, onset_power, loudest = sums.sounding_power[f], sums.onset_power[f], sums.loudest_onset_power[f]
    for m in range(len(power)):
        sounding_power[m] += sounding_share * power[m]
    if ZERO < onset_place < ONE:
        for m in range(len(power)):
            onset_power[m] += power[m]
            if power[m] > loudest[m]:
                loudest[m], guide.onset_place[f, m] = power[m], onset_place


@inlined
def guide_partials(
    guide: GuideColumns, sums: GuideSums, f: int, levels: Floats, gains: Floats, places: PartialPlaces, semitones: np.float32
) -> None:
    """Add a note's partials of power ``levels`` (H,) times ``gains`` (mel,) to frame ``f``, moved by ``semitones``."""
    strongest = sums.partial_power[f]
    bins = len(strongest)
    for h in range(len(levels)):
        place = places.position[h] + semitones * places.glide[h]
        nearest = int(np.rint(place))
        if 0 <= nearest < bins and levels[h] * gains[nearest] > strongest[nearest]:
            strongest[nearest], guide.offset_bins[f, nearest] = levels[h] * gains[nearest], place - f32(nearest)
