"""Timbre as compiled loops: the same as `specdiffd.prior.timbre` and `NotePrior.timbres`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import compiled, exp, inlined
from specdiffd.base.mel_scale_kernels import MelAxis
from specdiffd.prior.config import BAND
from specdiffd.prior.dense_kernels import HALF, TWO, Floats, Layer, affine, f32, gelu_all
from specdiffd.prior.envelope_kernels import EnvelopeArrays
from specdiffd.prior.extrapolation_kernels import sustain_of
from specdiffd.prior.gains_kernels import GainTables, note_gains
from specdiffd.prior.partials_kernels import LobeTable, add_partials, place_partials


class NoteArrays(NamedTuple):
    """The weights that make a note's timbre: embeddings, the note network, its heads, tables."""

    program: Floats  # (programs, PROGRAM_WIDTH)
    key: Floats  # (programs * keys, KEY_WIDTH)
    memory: Floats  # (programs * keys, memory)
    octaves: Floats  # config.PITCH_OCTAVES
    first: Layer
    second: Layer
    # Heads: each reads the second layer's outputs, then the memory.
    harmonics: Layer  # (K * H) outputs
    spectrum: Layer  # (K * mel)
    roughness: Layer  # (K * mel)
    inharmonicity: Layer  # 1
    envelope: Layer  # (frame_width)
    gains: GainTables
    lobes: LobeTable
    axis: MelAxis


class NoteToMake(NamedTuple):
    """A note whose timbre is to be made."""

    program: int
    cell: int  # of the program's key, in the tables of keys and memory
    gains_row: int  # of the program's key, in the gain tables
    semitones: np.float32  # above that row's key
    pitch: np.float32  # semitones
    velocity: np.float32  # 0 to 1


class TimbreTable(NamedTuple):
    """Timbres, a row each."""

    envelope: Floats  # (N, frame_width) the note's input to the envelope network
    shapes: Floats  # (N, K, mel) power
    rough_shapes: Floats  # (N, K, mel) power of each shape times its roughness
    partials: Floats  # (N, K, H) power
    position: Floats  # (N, H) of the partials on the mel axis, in bins
    glide: Floats  # (N, H) bins that they move by per semitone
    colours: Floats  # (N, J, mel) gains of the power at DETAIL_AGES_S, dynamics and details included
    sustain_start_s: Floats  # (N,) see `extrapolation.Sustain`
    sustain_rate: Floats  # (N,) nepers a second
    slow_attack: NDArray[np.bool_]  # (N,)


class Timbre(NamedTuple):
    """One row of a `TimbreTable`."""

    envelope: Floats
    shapes: Floats
    rough_shapes: Floats
    partials: Floats
    position: Floats
    glide: Floats
    colours: Floats
    sustain_start_s: np.float32
    sustain_rate: np.float32
    slow_attack: np.bool_


class NoteInputs(NamedTuple):
    """The input of the note network, and views of its parts."""

    whole: Floats
    program: Floats
    key: Floats
    height: Floats  # (1,)
    sines: Floats
    cosines: Floats
    velocity: Floats  # (3,)


@inlined
def timbre_of(table: TimbreTable, row: np.int64) -> Timbre:
    """A row of the table, as views."""
    return Timbre(
        table.envelope[row],
        table.shapes[row],
        table.rough_shapes[row],
        table.partials[row],
        table.position[row],
        table.glide[row],
        table.colours[row],
        table.sustain_start_s[row],
        table.sustain_rate[row],
        table.slow_attack[row],
    )


@compiled
def note_inputs(net: NoteArrays) -> NoteInputs:
    """An empty input of the note network; its parts are in the order of the first layer's weights."""
    whole = np.empty(net.first.weight.shape[0], np.float32)
    program_end = net.program.shape[1]
    key_end = program_end + net.key.shape[1]
    sines_end = key_end + 1 + len(net.octaves)
    cosines_end = sines_end + len(net.octaves)
    return NoteInputs(
        whole,
        whole[:program_end],
        whole[program_end:key_end],
        whole[key_end : key_end + 1],
        whole[key_end + 1 : sines_end],
        whole[sines_end:cosines_end],
        whole[cosines_end:],
    )


@compiled
def read_note(net: NoteArrays, note: NoteToMake) -> Floats:
    """The inputs of the note network: embeddings, `timbre.pitch_features` and `timbre.velocity_features`."""
    x = note_inputs(net)
    x.program[:] = net.program[note.program]
    x.key[:] = net.key[note.cell]
    scaled = (note.pitch - f32(64)) / f32(64)
    x.height[0] = scaled
    for k in range(len(net.octaves)):
        angle = scaled * f32(math.pi) * net.octaves[k]
        x.sines[k], x.cosines[k] = math.sin(angle), math.cos(angle)
    velocity = note.velocity
    x.velocity[0], x.velocity[1], x.velocity[2] = velocity, velocity * velocity, math.log(velocity + f32(0.02))
    return x.whole


@compiled
def note_with_memory(net: NoteArrays, note: NoteToMake) -> Floats:
    """Input of the heads: the second layer's outputs, then the key's memory."""
    width = net.first.weight.shape[1]
    hidden, heads_input = np.empty(width, np.float32), np.empty(width + net.memory.shape[1], np.float32)
    second, memory = heads_input[:width], heads_input[width:]
    affine(read_note(net, note), net.first, hidden)
    gelu_all(hidden)
    affine(hidden, net.second, second)
    gelu_all(second)
    memory[:] = net.memory[note.cell]
    return heads_input


@compiled
def power_head(x: Floats, head: Layer, power: Floats) -> None:
    """Fill ``power`` (outputs,) with the power of a head's natural log amplitudes."""
    affine(x, head, power)
    for o in range(len(power)):
        power[o] = exp(TWO * min(max(power[o], f32(-14)), f32(6)))


@compiled
def rough_shapes(x: Floats, head: Layer, gains: Floats, shapes: Floats, rough: Floats) -> None:
    """`timbre.rough_shapes`: fill ``rough`` (K, mel) with ``shapes`` (K, mel) times their roughness; log ``gains`` (bands,)."""
    affine(x, head, rough.reshape(-1))
    for k in range(shapes.shape[0]):
        for m in range(shapes.shape[1]):
            rough[k, m] = exp(min(max(rough[k, m], f32(-6)), HALF) + gains[m // BAND]) * shapes[k, m]


@compiled
def make_timbre(net: NoteArrays, envelope: EnvelopeArrays, note: NoteToMake, table: TimbreTable, row: int) -> None:
    """`NotePrior.timbres`: fill a row of the table for a note."""
    x = note_with_memory(net, note)
    shapes, partials = table.shapes[row], table.partials[row]
    power_head(x, net.harmonics, partials.reshape(-1))
    power_head(x, net.spectrum, shapes.reshape(-1))
    log_inharmonicity, hertz = np.empty(1, np.float32), np.empty(table.position.shape[1], np.float32)
    affine(x, net.inharmonicity, log_inharmonicity)
    affine(x, net.envelope, table.envelope[row])
    place_partials(note.pitch, log_inharmonicity[0], net.axis, hertz, table.position[row], table.glide[row])
    add_partials(hertz, partials, net.lobes, shapes)
    rough_shapes(x, net.roughness, net.gains.roughness[note.gains_row], shapes, table.rough_shapes[row])
    note_gains(net.gains, note.gains_row, note.velocity, note.semitones, net.axis, table.colours[row])
    sustain = sustain_of(envelope, table.envelope[row], shapes, table.colours[row, table.colours.shape[1] - 1])
    table.sustain_start_s[row], table.sustain_rate[row], table.slow_attack[row] = sustain
