"""The additive note prior: the mel spectrogram of each sounding note, summed in power.

It is factorised. A network that reads the note alone gives a few spectral shapes (`timbre`); a small network that reads its ages gives their
weights in each frame (`envelope`). A shape is a harmonic series (`partials`) plus a free spectrum. The gain tables (`gains`) hold what is
peculiar to the recording of a key. The prior is causal by construction: the only times a frame reads are the notes' ages.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from specdiffd.prior.config import (
    COLOUR_AGES_S,
    COLOURED,
    DETAIL_AGES,
    DETAIL_AGES_S,
    DETAIL_BINS,
    DRUM_PROGRAM,
    DYNAMICS,
    KEY_WIDTH,
    KEYS,
    PATTERNS,
    PITCH_FEATURES,
    PROGRAM_WIDTH,
    VELOCITY_FEATURES,
    PriorConfig,
)
from specdiffd.prior.envelope import EnvelopeNetwork, shape_weights
from specdiffd.prior.extrapolation import Sustain, held_on, released_early, sustain_of
from specdiffd.prior.gains import colour_gains, detail_gains, dynamics_gains, interpolation_place, table_key, transposed_gains
from specdiffd.prior.mixing import Contributions, log_mel_of, summed
from specdiffd.prior.note_features import NoteFeatures, OverTime
from specdiffd.prior.partials import harmonic_lobes
from specdiffd.prior.timbre import NoteHeads, Timbres, pitch_features, power_shapes, rough_shapes, velocity_features


class NotePrior(nn.Module):
    """(notes, frames) to log mel. The parameters' names are those of the checkpoints."""

    lobes: Tensor
    details: Tensor
    patterns: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self._make_tables(config)
        self._make_networks(config)
        with torch.no_grad():
            self.harmonics.bias.fill_(-6.5)
            self.spectrum.bias.fill_(-9.0)
            self.roughness.bias.fill_(-1.5)
            self.inharmonicity.bias.fill_(-10.0)
            self.inharmonicity.weight.zero_()
        self.make_constants()

    def _make_tables(self, c: PriorConfig) -> None:
        """Tables that are looked up by program and key."""
        rows = (DRUM_PROGRAM + 1) * len(COLOURED)
        self.program = nn.Embedding(DRUM_PROGRAM + 1, PROGRAM_WIDTH)
        self.key = nn.Embedding((DRUM_PROGRAM + 1) * KEYS, KEY_WIDTH)
        nn.init.normal_(self.key.weight, std=0.02)
        self.memory = nn.Embedding((DRUM_PROGRAM + 1) * KEYS, c.memory)
        nn.init.normal_(self.memory.weight, std=0.1)
        self.colours = nn.Embedding(rows, len(COLOUR_AGES_S) * c.mel_bins)  # log gains
        self.dynamics = nn.Embedding(rows, len(DYNAMICS) * c.bands)  # log gains
        self.unrest = nn.Embedding(rows, c.bands)  # log gains of the roughness
        for table in (self.colours, self.dynamics, self.unrest):
            nn.init.zeros_(table.weight)
        codes = len(DETAIL_AGES_S) // DETAIL_AGES * (c.mel_bins // DETAIL_BINS)
        self.register_buffer("details", torch.zeros(rows, codes, dtype=torch.uint8))
        self.register_buffer("patterns", torch.zeros(PATTERNS, DETAIL_AGES * DETAIL_BINS))  # log gains; the first are 0

    def _make_networks(self, c: PriorConfig) -> None:
        """The note network with its heads, the memory's additions to the heads, and the envelope network."""
        inputs = PROGRAM_WIDTH + KEY_WIDTH + PITCH_FEATURES + VELOCITY_FEATURES
        self.note = nn.Sequential(nn.Linear(inputs, c.width), nn.GELU(), nn.Linear(c.width, c.width), nn.GELU())
        self.harmonics = nn.Linear(c.width, c.shapes * c.harmonics)
        self.spectrum = nn.Linear(c.width, c.shapes * c.mel_bins)
        self.roughness = nn.Linear(c.width, c.shapes * c.mel_bins)
        self.beats = nn.Parameter(torch.full((c.mel_bins,), -1.0))
        self.inharmonicity = nn.Linear(c.width, 1)
        self.frame_note = nn.Linear(c.width, c.frame_width)
        self.recall = nn.Linear(c.memory, sum(self.recalled), bias=False)
        self.recall_roughness = nn.Linear(c.memory, c.shapes * c.mel_bins, bias=False)
        nn.init.zeros_(self.recall.weight)
        nn.init.zeros_(self.recall_roughness.weight)
        self.frame = nn.Linear(c.frame_features, c.frame_width)
        self.weights = nn.Sequential(nn.GELU(), nn.Linear(c.frame_width, c.frame_width), nn.GELU(), nn.Linear(c.frame_width, c.shapes))

    @property
    def recalled(self) -> tuple[int, int, int, int]:
        """Outputs of the memory's additions to harmonics, spectrum, inharmonicity and envelope."""
        c = self.config
        return c.shapes * c.harmonics, c.shapes * c.mel_bins, 1, c.frame_width

    @property
    def envelope_network(self) -> EnvelopeNetwork:
        """The layers that give the shapes' weights in a frame."""
        return EnvelopeNetwork(self.frame, self.weights, self.config)

    def make_constants(self) -> None:
        """Make the table of partials, which follows from the config and is not part of a checkpoint."""
        if not self.program.weight.is_meta:
            self.register_buffer("lobes", harmonic_lobes(self.config), persistent=False)

    def forward(self, x: NoteFeatures) -> Tensor:
        """Log mel (F, mel), natural log, of one part's notes together."""
        notes = self.contributions(x)
        return log_mel_of(summed(notes.power, notes.frame, x.active.shape[1]), self.config.log_floor)

    def contributions(self, x: NoteFeatures) -> Contributions:
        """The addends: one for each note and frame in which it may be heard."""
        timbres = self.timbres(x)
        note, frame = x.active.nonzero(as_tuple=True)
        at = OverTime(*(values[note, frame] for values in x.over_time))
        pairs = self._pair_weights(timbres, note, at)
        weights = pairs.new_zeros(*x.active.shape, pairs.shape[1]).index_put((note, frame), pairs)
        upper, fraction = interpolation_place(at.age_s, DETAIL_AGES_S)
        gains = torch.lerp(timbres.colours[note, upper - 1], timbres.colours[note, upper], fraction[:, None])
        power = (weights @ timbres.shapes)[note, frame] * gains
        # Detached: the powers learn nothing from the roughness.
        rough_power = (weights.detach() @ timbres.rough_shapes)[note, frame] * gains.detach()
        return Contributions(note, frame, power, rough_power)

    def _pair_weights(self, timbres: Timbres, note: Tensor, at: OverTime) -> Tensor:
        """Weights (P, K) of the shapes: ``note`` (P,) the rows of the timbres, ``at`` (P,) the notes' ages and controllers in the frames."""
        net, sustain = self.envelope_network, Sustain(*(values[note] for values in timbres.sustain))
        weights = shape_weights(net, timbres.envelope[note], held_on(at, sustain))
        return released_early(net, weights, timbres.envelope[note], sustain.slow_attack, at)

    def timbres(self, x: NoteFeatures) -> Timbres:
        """What does not depend on time, for each note."""
        program = torch.where(x.drum, DRUM_PROGRAM, x.program)
        heads = self._note_heads(x, program)
        shapes = power_shapes(heads, x.pitch, self.lobes, self.config)
        row = program * len(COLOURED) + table_key(x.key) - COLOURED[0]
        colours = self._colours(x, row)
        rough = rough_shapes(heads, shapes, self.unrest(row), self.config)
        sustain = sustain_of(self.envelope_network, heads.envelope, shapes * colours[:, -1:])
        return Timbres(heads.envelope, shapes, rough, colours, sustain)

    def _note_heads(self, x: NoteFeatures, program: Tensor) -> NoteHeads:
        """Outputs of the note network and the memory for notes of programs (N,)."""
        cell = program * KEYS + x.key
        features = torch.cat((self.program(program), self.key(cell), pitch_features(x.pitch), velocity_features(x.velocity)), -1)
        note, memory = self.note(features), self.memory(cell)  # (N, width), (N, memory)
        heads = (self.harmonics, self.spectrum, self.inharmonicity, self.frame_note)
        recalled = self.recall(memory).split(self.recalled, -1)
        levels, spectrum, inharmonicity, envelope = (head(note) + more for head, more in zip(heads, recalled, strict=True))
        # Detached: the networks of the mean learn nothing from the roughness.
        roughness = self.roughness(note.detach()) + self.recall_roughness(memory.detach())
        return NoteHeads(levels, spectrum, inharmonicity, envelope, roughness)

    def _colours(self, x: NoteFeatures, row: Tensor) -> Tensor:
        """Gains (N, J, mel) of the power at DETAIL_AGES_S, of notes with rows (N,) of the gain tables."""
        dynamics = dynamics_gains(self.dynamics(row), x.velocity)
        gains = colour_gains(self.colours(row)) + dynamics[:, None] + detail_gains(self.patterns[self.details[row].long()])
        return (2 * transposed_gains(gains, x.pitch - table_key(x.key), self.config)).exp()
