"""The note prior as it plays: what `NotePrior.contributions` says, as loops over the notes that sound.

A stretch of ten frames with a few notes is little arithmetic in many small steps; as operations on tensors it took four times as long, most
of it in calling them, padding and copying. Here also is what only playing needs, and no training: texture, and the vocoder's guide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from specdiffd.base.formats import NO_GUIDE
from specdiffd.base.loops import compiled, exp
from specdiffd.prior.network import (
    BAND,
    COLOUR_AGES_S,
    COLOURED,
    DECAYS_S,
    DETAIL_AGES,
    DETAIL_AGES_S,
    DETAIL_BINS,
    DRUM_PROGRAM,
    DYNAMICS,
    HAT_S,
    KEYS,
    LASTING_S,
    PITCH_OCTAVES,
    RISING_S,
    SUSTAINED_NEPERS_S,
    TOLD_S,
    NotePrior,
    between,
    hats_s,
    mel_of,
)
from specdiffd.prior.note_features import NEVER_S, NoteFeatures

Floats = NDArray[np.float32]
f32 = np.float32
# By how much texture may make a bin louder than the loudest of its frame, where that is not of an attack: at attacks not at all. What is
# drawn is alike in close bins: where a few of them are the whole sound, as in a bird's tweet or an attack, it was a burst of up to 9 dB.
# 0 everywhere makes sounds 0.1 dB too soft and cymbals dull; 0.4 at attacks, too, made a harp and a glockenspiel burst by 10 dB.
OVER_LOUDEST_NEPERS = f32(0.4)
WEIGHT_STEPS = 32767  # of a weight of a large layer: reading them from memory is most of what a new note costs


class Layer(NamedTuple):
    """A linear layer, inputs first."""

    weight: NDArray[Any]  # (inputs, outputs) float32, or int16 in units of ``scale``
    scale: Floats  # (outputs,)
    bias: Floats  # (outputs,)


class NoteNetwork(NamedTuple):
    """What makes a timbre of a note."""

    program: Floats  # (programs, 32)
    key: Floats  # (programs * keys, 16)
    memory: Floats  # (programs * keys, memory)
    colours: Floats  # (programs * coloured keys, colour ages * mel) log gains
    after: NDArray[np.int64]  # (J,) the second of the colour ages that each age lies between
    share: Floats  # (J,) how far it is on the way to it
    details: NDArray[np.uint8]  # (programs * coloured keys, codes)
    patterns: Floats  # (codes, ages * bins) log gains
    dynamics: Floats  # (programs * coloured keys, velocities * bands) likewise
    velocities: Floats  # of the dynamics
    unrest: Floats  # (programs * coloured keys, bands) log gains of the roughness
    first: Layer
    second: Layer
    spectra: Layer  # harmonics, spectrum and roughness of each shape, from the second layer and the memory
    others: Layer  # inharmonicity and envelope, likewise
    lobes: Floats  # (steps, mel)
    octaves: Floats
    step_hz: np.float32  # of the lobes
    bins_per_mel: np.float32
    lowest_mel: np.float32


class FrameNetwork(NamedTuple):
    """What makes the weights of a note's shapes of its ages."""

    ages: Layer
    hidden: Layer
    out: Layer
    decays_s: Floats
    hats: int
    hat_s: np.float32
    window_s: np.float32
    never_s: np.float32
    lasting_s: Floats  # (6,) see NotePrior._lasting
    told_s: np.float32  # see NotePrior._fallen
    risen_s: np.float32
    detail_ages_s: Floats  # (J,)
    sustained: np.float32


class TimbreTable(NamedTuple):
    """Notes without their time, a row each."""

    envelope: Floats  # (N, frame_width) what the frame network knows of the note
    shapes: Floats  # (N, K, mel)
    rough: Floats  # (N, K, mel) the same times each one's roughness
    partials: Floats  # (N, K, H) power
    position: Floats  # (N, H) of the partials on the mel axis, in bins
    glide: Floats  # (N, H) how far they go there for a semitone
    colours: Floats  # (N, J, mel) gains of the power at DETAIL_AGES_S, dynamics and details included
    lasting: Floats  # (N, 3) see NotePrior._lasting


class OverTime(NamedTuple):
    """Of notes in frames, (N, F) each, as in `NoteFeatures`."""

    age_s: Floats
    release_s: Floats
    choke_s: Floats
    pedal: Floats
    modulation: Floats
    gain: Floats


class Heard(NamedTuple):
    """What a score says of frames."""

    mel: Tensor  # (F, mel) natural log
    texture: Tensor  # (F, mel) to be added: noise, as rough as the notes are; 0 where there is no noise
    guide: Tensor  # (F, mel, 5) see PlayedPrior


class PlayedPrior:
    """A note prior's results for playing, on the CPU.

    The guide tells what a score knows and a mel spectrogram does not, of low and close notes and of onsets. For every frame and
    mel bin: the distance of the strongest partial near the bin's centre from it, in bins; the natural log of its amplitude; the mean over the
    notes, by power, of how much of the frame's window lies behind their onset (0 to 1); the share of the power that is of notes which
    begin within the frame's window; and where in it the strongest of them does, 0 to 1. ``NO_GUIDE`` where there is nothing.

    Timbres of the notes seen lately are kept: while a note sounds, only its ages change.

    Args:
        prior: whose weights are copied.
        noise: (rows, mel) of variance 1, which texture is made of; None: none.
    """

    KEPT = 1024  # timbres; those that were not heard for longest make room for others
    # Timbres of bent notes that are made for each frame: a third of a millisecond each, so that any number of wheels cannot hold up a
    # revision. Beyond it a note keeps the last timbre it had, which is a frame's bend behind.
    BENT_PER_FRAME = 8

    def __init__(self, prior: NotePrior, noise: Tensor | None = None) -> None:
        self.config = c = prior.config
        lowest, highest = mel_of(c.low_hz), mel_of(c.high_hz)
        step = (highest - lowest) / (c.mel_bins + 1)
        first, second = (layer for layer in prior.note if isinstance(layer, nn.Linear))
        heads = (prior.harmonics, prior.spectrum, prior.inharmonicity, prior.frame_note)
        recalled = (_with_memory(*both) for both in zip(heads, prior.recall.weight.split(prior.recalled), strict=True))
        harmonics, spectrum, *others = recalled
        after, share = between(torch.tensor(DETAIL_AGES_S), COLOUR_AGES_S)
        self._notes = NoteNetwork(
            program=_numpy(prior.program.weight),
            key=_numpy(prior.key.weight),
            memory=_numpy(prior.memory.weight),
            colours=_numpy(prior.colours.weight),
            after=after.numpy(),
            share=_numpy(share),
            details=np.ascontiguousarray(prior.details.cpu().numpy()),
            patterns=_numpy(prior.patterns),
            dynamics=_numpy(prior.dynamics.weight),
            velocities=np.array(DYNAMICS, np.float32),
            unrest=_numpy(prior.unrest.weight),
            first=_short([first]),
            second=_short([second]),
            spectra=_short([harmonics, spectrum, _with_memory(prior.roughness, prior.recall_roughness.weight)]),
            others=_plain(others),
            lobes=_numpy(prior.lobes),
            octaves=np.array(PITCH_OCTAVES, np.float32),
            step_hz=f32(c.sample_rate_hz / 2 / (len(prior.lobes) - 2)),
            bins_per_mel=f32(1 / step),
            lowest_mel=f32(lowest + step),
        )
        hidden, out = (layer for layer in prior.weights if isinstance(layer, nn.Linear))
        self._frames = FrameNetwork(
            ages=_plain([prior.frame]),
            hidden=_plain([hidden]),
            out=_plain([out]),
            decays_s=_numpy(DECAYS_S),
            hats=len(hats_s(c.window_s)),
            hat_s=f32(HAT_S),
            window_s=f32(c.window_s),
            never_s=f32(NEVER_S),
            lasting_s=np.array((*LASTING_S, *RISING_S), np.float32),
            told_s=f32(TOLD_S),
            risen_s=f32(RISING_S[1]),
            detail_ages_s=np.array(DETAIL_AGES_S, np.float32),
            sustained=f32(SUSTAINED_NEPERS_S),
        )
        self._floor, self._nothing = f32(math.exp(2 * c.log_floor)), np.array(NO_GUIDE, np.float32)
        self._beats = np.exp(2 * _numpy(prior.beats))
        self._noise = np.zeros((1, c.mel_bins), np.float32) if noise is None else _numpy(noise)
        self._place: dict[tuple[float, ...], int] = {}  # of each note in the table
        self._last: dict[tuple[float, ...], tuple[float, ...]] = {}  # made of a note, whatever its pitch
        self._table = self._empty(self.KEPT)

    def __call__(self, x: NoteFeatures, rows: Tensor | None = None) -> Heard:
        """One part's notes together.

        Args:
            rows: (N, F) of the noise, each note's own; None: the first.
        """
        c, (count, frames) = self.config, x.active.shape
        places = self._places(x, self.BENT_PER_FRAME * frames)
        at = np.zeros((count, frames), np.int64) if rows is None else rows.numpy()
        mel, texture = np.empty((frames, c.mel_bins), np.float32), np.empty((frames, c.mel_bins), np.float32)
        guide = np.empty((frames, c.mel_bins, len(NO_GUIDE)), np.float32)
        over_time = OverTime(*(y.numpy() for y in x.over_time))
        _hear(
            self._frames,
            self._table,
            places,
            x.active.numpy(),
            over_time,
            self._beats,
            self._noise,
            at,
            self._floor,
            self._nothing,
            mel,
            texture,
            guide,
        )
        return Heard(*(torch.from_numpy(y) for y in (mel, texture, guide)))

    def _empty(self, rows: int) -> TimbreTable:
        c = self.config
        sizes = ((self._frames.hidden.weight.shape[0],), (c.shapes, c.mel_bins), (c.shapes, c.mel_bins))
        more = ((c.shapes, c.harmonics), (c.harmonics,), (c.harmonics,), (len(DETAIL_AGES_S), c.mel_bins), (3,))
        return TimbreTable(*(np.zeros((rows, *size), np.float32) for size in (*sizes, *more)))

    def _places(self, x: NoteFeatures, most_bent: int) -> NDArray[np.int64]:
        """Rows of the table that hold the timbres of the notes; no more than ``most_bent`` new ones of notes that have one."""
        keys = list(zip(*(column.tolist() for column in (x.key, x.velocity, x.program, x.drum, x.pitch)), strict=True))
        used = {self._made(key): None for key in keys}
        for key in used:
            if key in self._place:
                self._place[key] = self._place.pop(key)  # in the order of use
        for key in self._missing(keys, most_bent):
            self._make(key, self._free_row(used))
            used[key] = None
        return np.array([self._place[self._made(key)] for key in keys], np.int64)

    def _made(self, key: tuple[float, ...]) -> tuple[float, ...]:
        """The timbre that there is of a note; if it has none, its own."""
        return key if key in self._place else self._last.get(key[:-1], key)

    def _free_row(self, used: Mapping[tuple[float, ...], None]) -> int:
        """A row of the table, of a timbre that is not used; a table that is full of used ones grows."""
        rows = len(self._table.lasting)
        if len(self._place) < rows:
            return len(self._place)
        oldest = next(iter(self._place))
        if oldest in used:
            self._table = TimbreTable(*(np.concatenate((x, np.zeros_like(x[: rows // 4 + 1]))) for x in self._table))
            return rows
        if self._last.get(oldest[:-1]) == oldest:
            del self._last[oldest[:-1]]
        return self._place.pop(oldest)

    def _missing(self, keys: list[tuple[float, ...]], most_bent: int) -> list[tuple[float, ...]]:
        """Notes to make a timbre of: those that have none, and some of those that have one of another pitch."""
        new = [key for key in dict.fromkeys(keys) if key not in self._place]
        first = {key[:-1]: key for key in reversed(new) if key[:-1] not in self._last}
        return [*first.values(), *[key for key in new if first.get(key[:-1]) is not key][:most_bent]]

    def _make(self, note: tuple[float, ...], at: int) -> None:
        """A timbre, in a row of the table."""
        key, velocity, program, drum, pitch = note
        row, key = DRUM_PROGRAM if drum else int(program), int(key)
        coloured = min(max(key, COLOURED[0]), COLOURED[-1])
        colour, higher = row * len(COLOURED) + coloured - COLOURED[0], f32(pitch - coloured)
        _timbre(self._notes, self._frames, row, row * KEYS + key, colour, higher, f32(pitch), f32(velocity), self._table, at)
        self._place[note], self._last[note[:-1]] = at, note


def _numpy(x: Tensor) -> Floats:
    return np.ascontiguousarray(x.detach().float().cpu().numpy())


class Affine(NamedTuple):
    """What a linear layer does."""

    weight: Tensor  # (outputs, inputs)
    bias: Tensor


def _with_memory(head: nn.Linear, recall: Tensor) -> Affine:
    """A head and what the memory adds to it, as one layer that reads both."""
    return Affine(torch.cat((head.weight, recall), 1), head.bias)


def _plain(layers: Sequence[nn.Linear | Affine]) -> Layer:
    """Layers that read the same, as one."""
    weight = _numpy(torch.cat([layer.weight for layer in layers]).T)
    return Layer(weight, np.ones(weight.shape[1], np.float32), _numpy(torch.cat([layer.bias for layer in layers])))


def _short(layers: Sequence[nn.Linear | Affine]) -> Layer:
    """Likewise, in half the memory; the error is 1 part in 65,000 of an output's largest weight."""
    weight, _, bias = _plain(layers)
    scale = np.maximum(np.abs(weight).max(0), 1e-30) / WEIGHT_STEPS
    return Layer(np.round(weight / scale).astype(np.int16), scale.astype(np.float32), bias)


ZERO, HALF, ONE, TWO = f32(0), f32(0.5), f32(1), f32(2)
ROOT_HALF, ERF_P = f32(math.sqrt(0.5)), f32(0.3275911)
ERF_A = tuple(f32(a) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))
VIBRATO_HZ, VIBRATO_SEMITONES = f32(8.176), f32(0.5)  # SoundFont 2.04, 8.1.3 (freqVibLFO) and 8.4 (CC 1 to vibrato depth)
MEL_SCALE, MEL_HZ, SEMITONE = f32(1127), f32(700), f32(math.log(2) / 12)


@compiled
def _gelu(x: np.float32) -> np.float32:
    """With the error function by Abramowitz and Stegun 7.1.26, to 1.5e-7."""
    z = min(abs(x) * ROOT_HALF, f32(6))
    t = ONE / (ONE + ERF_P * z)
    erf = ONE - t * (ERF_A[0] + t * (ERF_A[1] + t * (ERF_A[2] + t * (ERF_A[3] + t * ERF_A[4])))) * exp(-z * z)
    return HALF * (x + abs(x) * erf)


@compiled
def _product(x: Floats, weight: NDArray[Any], y: Floats) -> None:
    """``y`` = ``x`` @ ``weight``; eight inputs at a time, since each pass goes through all outputs."""
    inputs, outputs = len(x), len(y)
    eights = inputs // 8 * 8
    y[:] = ZERO
    for i in range(0, eights, 8):
        a, b, c, d, e, f, g, h = x[i], x[i + 1], x[i + 2], x[i + 3], x[i + 4], x[i + 5], x[i + 6], x[i + 7]
        for o in range(outputs):
            first = a * f32(weight[i, o]) + b * f32(weight[i + 1, o]) + c * f32(weight[i + 2, o]) + d * f32(weight[i + 3, o])
            then = e * f32(weight[i + 4, o]) + f * f32(weight[i + 5, o]) + g * f32(weight[i + 6, o]) + h * f32(weight[i + 7, o])
            y[o] += first + then
    for i in range(eights, inputs):
        for o in range(outputs):
            y[o] += x[i] * f32(weight[i, o])


@compiled
def _affine(x: Floats, layer: Layer, y: Floats) -> None:
    """``y`` = a layer of ``x``."""
    _product(x, layer.weight, y)
    for o in range(len(y)):
        y[o] = y[o] * layer.scale[o] + layer.bias[o]


@compiled
def _between(x: np.float32, points: Floats) -> tuple[int, np.float32]:
    """`prior.shares_of`: the second of the points that ``x`` lies between, and its share."""
    after = 1
    while after < len(points) - 1 and x > points[after]:
        after += 1
    return after, min(max((x - points[after - 1]) / (points[after] - points[after - 1]), ZERO), ONE)


@compiled
def _add_row(scale: np.float32, row: Floats, y: Floats) -> None:
    for o in range(len(y)):
        y[o] += scale * row[o]


@compiled
def _add_age(age_s: np.float32, net: FrameNetwork, first: int, y: Floats) -> None:
    """To ``y`` what the features of an age (`prior.age_features`) do, which are rows ``first`` and on; nearly all hats are 0."""
    since = age_s + net.window_s
    if since <= ZERO:
        return
    weight = net.ages.weight
    place = since / net.hat_s
    if place < f32(net.hats):
        hat = int(place)
        rest = place - f32(hat)
        _add_row(ONE - rest, weight[first + hat], y)
        if hat + 1 < net.hats:
            _add_row(rest, weight[first + hat + 1], y)
    past, row = max(age_s, ZERO), first + net.hats
    for d in range(len(net.decays_s)):
        _add_row(exp(max(-past / net.decays_s[d], f32(-80))), weight[row + d], y)
    row += len(net.decays_s)
    _add_row(f32(math.log1p(min(past, net.never_s) * f32(50))) * f32(0.25), weight[row], y)
    _add_row(ONE, weight[row + 1], y)


@compiled
def _weights(
    net: FrameNetwork,
    envelope: Floats,
    age_s: np.float32,
    release_s: np.float32,
    choke_s: np.float32,
    pedal: np.float32,
    modulation: np.float32,
    gain: np.float32,
    x: Floats,
    y: Floats,
    weights: Floats,
) -> None:
    """Into ``weights`` (K,) those of a note's shapes in a frame; ``x`` and ``y`` (frame_width,) are for the work."""
    for o in range(len(x)):
        x[o] = envelope[o] + net.ages.bias[o]
    each = net.hats + len(net.decays_s) + 2
    _add_age(age_s, net, 0, x)
    _add_age(release_s, net, each, x)
    _add_age(choke_s, net, 2 * each, x)
    if pedal != ZERO:
        _add_row(pedal, net.ages.weight[3 * each], x)
    if modulation != ZERO:
        _add_row(modulation, net.ages.weight[3 * each + 1], x)
    for o in range(len(x)):
        x[o] = _gelu(x[o])
    _affine(x, net.hidden, y)
    for o in range(len(y)):
        y[o] = _gelu(y[o])
    _affine(y, net.out, weights)
    for k in range(len(weights)):
        weights[k] = exp(max(TWO * (min(max(weights[k], f32(-16)), f32(6)) + gain), f32(-80)))


@compiled
def _timbre(
    net: NoteNetwork,
    frames: FrameNetwork,
    program: int,
    key: int,
    colour: int,
    higher: np.float32,
    pitch: np.float32,
    velocity: np.float32,
    table: TimbreTable,
    at: int,
) -> None:
    """Into row ``at`` of ``table`` what `NotePrior.timbres` says of a note."""
    shapes, rough, partials = table.shapes[at], table.rough[at], table.partials[at]
    position, glide = table.position[at], table.glide[at]
    count, bins = shapes.shape
    harmonics = len(position)
    wide, programs = net.first.weight.shape[1], net.program.shape[1]
    x, note, hidden = (
        np.empty(net.first.weight.shape[0], np.float32),
        np.empty(wide + net.memory.shape[1], np.float32),
        np.empty(wide, np.float32),
    )
    x[:programs] = net.program[program]
    i = programs + net.key.shape[1]
    x[programs:i] = net.key[key]
    scaled = (pitch - f32(64)) / f32(64)
    x[i] = scaled
    waves = len(net.octaves)
    for k in range(waves):
        angle = scaled * f32(math.pi) * net.octaves[k]
        x[i + 1 + k], x[i + 1 + waves + k] = math.sin(angle), math.cos(angle)
    i += 1 + 2 * waves
    x[i], x[i + 1], x[i + 2] = velocity, velocity * velocity, math.log(velocity + f32(0.02))
    _affine(x, net.first, hidden)
    for o in range(wide):
        hidden[o] = _gelu(hidden[o])
    _affine(hidden, net.second, note[:wide])
    for o in range(wide):
        note[o] = _gelu(note[o])
    note[wide:] = net.memory[key]
    spectra, others = np.empty(net.spectra.weight.shape[1], np.float32), np.empty(net.others.weight.shape[1], np.float32)
    _affine(note, net.spectra, spectra)
    level, free = partials.reshape(-1), shapes.reshape(-1)
    free_at, rough_at = len(level), len(level) + len(free)
    for o in range(len(level)):
        level[o] = exp(TWO * min(max(spectra[o], f32(-14)), f32(6)))
    for o in range(len(free)):
        free[o] = exp(TWO * min(max(spectra[free_at + o], f32(-14)), f32(6)))
    _affine(note, net.others, others)
    table.envelope[at] = others[1:]
    stiffness = exp(min(max(others[0], f32(-14)), f32(-3)))
    response = np.empty(bins, np.float32)
    fundamental = f32(440) * math.exp((pitch - f32(69)) * SEMITONE)
    for h in range(harmonics):
        number = f32(h + 1)
        hertz = fundamental * number * math.sqrt(ONE + stiffness * number * number)
        position[h] = (MEL_SCALE * math.log1p(hertz / MEL_HZ) - net.lowest_mel) * net.bins_per_mel
        glide[h] = MEL_SCALE * net.bins_per_mel * SEMITONE * hertz / (MEL_HZ + hertz)
        place = hertz / net.step_hz
        if place >= f32(len(net.lobes) - 2):
            continue  # above the format's range
        below = int(place)
        rest = place - f32(below)
        for m in range(bins):
            response[m] = (ONE - rest) * net.lobes[below, m] + rest * net.lobes[below + 1, m]
        for k in range(count):
            _add_row(partials[k, h], response, shapes[k])
    unrest = net.unrest[colour]
    for k in range(count):
        for m in range(bins):
            rough[k, m] = exp(min(max(spectra[rough_at + k * bins + m], f32(-6)), HALF) + unrest[m // BAND]) * shapes[k, m]
    gains, log_gains, dynamics, bands = table.colours[at], net.colours[colour], net.dynamics[colour], bins // BAND
    after, share = _between(velocity, net.velocities)
    loud, ratio = np.empty(bins, np.float32), f32(math.exp(-higher * SEMITONE))
    for m in range(bins):
        loud[m] = (ONE - share) * dynamics[(after - 1) * bands + m // BAND] + share * dynamics[after * bands + m // BAND]
    codes, across = net.details[colour], bins // DETAIL_BINS
    unmoved = np.empty((len(gains), bins), np.float32)
    for j in range(len(gains)):
        first, share, row, part = (net.after[j] - 1) * bins, net.share[j], j // DETAIL_AGES * across, j % DETAIL_AGES * DETAIL_BINS
        for m in range(bins):
            coloured = (ONE - share) * log_gains[first + m] + share * log_gains[first + bins + m]
            unmoved[j, m] = coloured + loud[m] + net.patterns[codes[row + m // DETAIL_BINS], part + m % DETAIL_BINS]
    source, beyond = np.empty(bins, np.int64), np.empty(bins, np.float32)
    for m in range(bins):  # see NotePrior._moved
        centre = f32(math.expm1((net.lowest_mel + f32(m) / net.bins_per_mel) / MEL_SCALE))
        place = (MEL_SCALE * f32(math.log1p(centre * ratio)) - net.lowest_mel) * net.bins_per_mel
        place = min(max(place, ZERO), f32(bins) - f32(1.001))
        source[m] = int(place)
        beyond[m] = place - f32(source[m])
    for j in range(len(gains)):
        for m in range(bins):
            gains[j, m] = exp(max(TWO * ((ONE - beyond[m]) * unmoved[j, source[m]] + beyond[m] * unmoved[j, source[m] + 1]), f32(-80)))
    _lasting(frames, table, at)


@compiled
def _lasting(net: FrameNetwork, table: TimbreTable, at: int) -> None:
    """Into ``table`` from when on a note goes on as it does there, and how: `NotePrior._lasting`."""
    shapes, envelope = table.shapes[at], table.envelope[at]
    last = table.colours[at, len(net.detail_ages_s) - 1]
    count, bins = shapes.shape
    x, y, weights = np.empty(len(envelope), np.float32), np.empty(len(envelope), np.float32), np.empty(count, np.float32)
    levels = np.empty(len(net.lasting_s), np.float32)
    for j in range(len(levels)):
        _weights(net, envelope, net.lasting_s[j], -net.never_s, -net.never_s, ZERO, ZERO, ZERO, x, y, weights)
        power = f32(1e-30)
        for k in range(count):
            for m in range(bins):
                power += weights[k] * shapes[k, m] * last[m]
        levels[j] = HALF * math.log(power)
    stays = (levels[1] - levels[0]) / (net.lasting_s[1] - net.lasting_s[0]) > -net.sustained
    table.lasting[at, 0] = net.lasting_s[1] if stays else net.lasting_s[3]
    table.lasting[at, 1] = ZERO if stays else min((levels[3] - levels[2]) / (net.lasting_s[3] - net.lasting_s[2]), ZERO)
    table.lasting[at, 2] = ONE if levels[5] > levels[4] else ZERO


@compiled
def _lower(net: FrameNetwork, envelope: Floats, length_s: np.float32, x: Floats, y: Floats, lower: Floats, its: Floats) -> None:
    """Into ``lower`` (K,) what a note of ``length_s`` is of a longer one, a while after both have ended; ``its`` (K,) is for the work."""
    _weights(net, envelope, length_s + net.told_s, net.told_s, -net.never_s, ZERO, ZERO, ZERO, x, y, lower)
    _weights(net, envelope, net.risen_s + net.told_s, net.told_s, -net.never_s, ZERO, ZERO, ZERO, x, y, its)
    for k in range(len(lower)):
        lower[k] /= its[k]


@compiled
def _fall(
    net: FrameNetwork,
    envelope: Floats,
    release_s: np.float32,
    pedal: np.float32,
    modulation: np.float32,
    gain: np.float32,
    lower: Floats,
    x: Floats,
    y: Floats,
    longer: Floats,
    weights: Floats,
) -> None:
    """`NotePrior._fallen` of ``weights`` (K,) that are ``lower`` (K,) than a longer note's, whose are filled in."""
    _weights(net, envelope, net.risen_s + release_s, release_s, -net.never_s, pedal, modulation, gain, x, y, longer)
    for k in range(len(weights)):
        weights[k] = min(weights[k], longer[k] * lower[k])


@compiled
def _colour(net: FrameNetwork, colours: Floats, age_s: np.float32, y: Floats) -> None:
    """Into ``y`` (mel,) a note's gains at an age, of its colours (J, mel)."""
    after, share = _between(age_s, net.detail_ages_s)
    for m in range(len(y)):
        y[m] = (ONE - share) * colours[after - 1, m] + share * colours[after, m]


@compiled
def _vibrato(age_s: np.float32, modulation: np.float32) -> np.float32:
    """Semitones by which the modulation wheel moves a note of this age: a triangle that begins with the note, rising.

    A mel spectrogram does not have it, least of all of low notes: frames are far apart and bins wide.
    """
    if modulation == ZERO or age_s <= ZERO:
        return ZERO
    turn = VIBRATO_HZ * age_s + f32(0.25)
    return modulation * VIBRATO_SEMITONES * (ONE - f32(4) * abs(turn - math.floor(turn) - HALF))


@compiled
def _limit(mel: Floats, young: Floats, texture: Floats) -> None:
    """Let a frame's ``texture`` make no bin of ``mel`` much louder than the loudest, of whose power ``young`` is of attacks; (mel,) each."""
    loudest = mel.argmax()
    highest = mel[loudest] + OVER_LOUDEST_NEPERS * (ONE - young[loudest])
    for m in range(len(mel)):
        texture[m] = min(texture[m], max(highest - mel[m], ZERO))


@compiled
def _hear(
    net: FrameNetwork,
    table: TimbreTable,
    places: NDArray[np.int64],
    active: NDArray[np.bool_],
    over_time: OverTime,
    beats: Floats,
    noise: Floats,
    noise_rows: NDArray[np.int64],
    floor: np.float32,
    nothing: Floats,
    mel: Floats,
    texture: Floats,
    guide: Floats,
) -> None:
    """The fields of `Heard` into the last three: notes at ``places`` of the table, ``floor`` a power, ``nothing`` a guide."""
    notes, frames = active.shape
    audible = np.exp(TWO * nothing[1])
    count, bins = table.shapes.shape[1:]
    harmonics = table.position.shape[1]
    x, y = np.empty(table.envelope.shape[1], np.float32), np.empty(table.envelope.shape[1], np.float32)
    weights, level = np.empty(count, np.float32), np.empty(harmonics, np.float32)
    lower, longer = np.empty(count, np.float32), np.empty(count, np.float32)
    power, rough, gain_of = np.empty(bins, np.float32), np.empty(bins, np.float32), np.empty(bins, np.float32)
    sums = np.zeros((10, frames, bins), np.float32)
    guide[:] = ZERO
    for n in range(notes):
        at = places[n]
        start, rate = table.lasting[at, 0], table.lasting[at, 1]
        shapes, roughness, partials = table.shapes[at], table.rough[at], table.partials[at]
        position, glide = table.position[at], table.glide[at]
        known = False
        for f in range(frames):
            if not active[n, f]:
                continue
            age = over_time.age_s[n, f]
            gain = over_time.gain[n, f] + rate * max(age - start, ZERO)
            lasted = min(age, start)
            release, choke = over_time.release_s[n, f], over_time.choke_s[n, f]
            pedal, modulation = over_time.pedal[n, f], over_time.modulation[n, f]
            _weights(net, table.envelope[at], lasted, release, choke, pedal, modulation, gain, x, y, weights)
            if table.lasting[at, 2] > ZERO and release > net.told_s and age - release < net.risen_s and choke <= -net.window_s:
                if not known:
                    _lower(net, table.envelope[at], age - release, x, y, lower, longer)
                    known = True
                _fall(net, table.envelope[at], release, pedal, modulation, gain, lower, x, y, longer, weights)
            _product(weights, shapes, power)
            _product(weights, roughness, rough)
            _product(weights, partials, level)
            _colour(net, table.colours[at], age, gain_of)
            for m in range(bins):
                power[m] *= gain_of[m]
                rough[m] *= gain_of[m]
            began = -age / net.window_s
            heard = min(max(ONE - began, ZERO), ONE)
            row = noise[noise_rows[n, f]]
            total, same, behind, own, squares, drawn, fresh, young, latest, strongest = sums[:, f]
            offset, begins = guide[f, :, 0], guide[f, :, 4]
            for m in range(bins):
                total[m] += power[m]
                same[m] += power[m] * power[m]
                behind[m] += heard * power[m]
                own[m] += rough[m]
                squares[m] += rough[m] * rough[m]
                drawn[m] += rough[m] * row[m]
            if age < net.window_s:
                for m in range(bins):
                    young[m] += power[m]
            if ZERO < began < ONE:
                for m in range(bins):
                    fresh[m] += power[m]
                    if power[m] > latest[m]:
                        latest[m], begins[m] = power[m], began
            higher = _vibrato(age + HALF * net.window_s, modulation)
            for h in range(harmonics):
                place = position[h] + higher * glide[h]
                nearest = int(np.rint(place))
                if 0 <= nearest < bins and level[h] * gain_of[nearest] > strongest[nearest]:
                    strongest[nearest], offset[nearest] = level[h] * gain_of[nearest], place - f32(nearest)
    for f in range(frames):
        total, same, behind, own, squares, drawn, fresh, young, latest, strongest = sums[:, f]
        offset = guide[f, :, 0]
        for m in range(bins):
            whole = total[m] + floor
            mel[f, m] = HALF * math.log(whole)
            # A mean over the notes by power, and what notes beside each other add, whose partials beat (`prior.mean_roughness`); of the
            # notes' own noise each has the share that it has of what is rough.
            mean, alone = own[m] / whole, total[m] / whole
            deviation = math.sqrt(mean * mean + beats[m] * max(alone * alone - same[m] / (whole * whole), ZERO))
            texture[f, m] = deviation * drawn[m] / math.sqrt(squares[m] + floor * floor)
            guide[f, m, 1] = nothing[1]
            if strongest[m] > audible:
                guide[f, m, 1] = HALF * math.log(strongest[m])
            else:
                offset[m] = nothing[0]
            guide[f, m, 2] = (behind[m] + floor) / whole
            guide[f, m, 3] = min(fresh[m] / whole, ONE)
            young[m] /= whole
        _limit(mel[f], young, texture[f])
