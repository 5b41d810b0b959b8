"""The additive note prior: what each sounding note contributes to the mel spectrogram, summed in power.

Factorised: a network of the note alone gives ``shapes`` spectral shapes, a small one of its ages gives their weights in
each frame. A shape is a harmonic series placed analytically on the mel axis (so that pitch is exact at every semitone
and bend) plus a free spectrum. What no network says of a key of a program, since each few keys are another recording, is
a gain of every bin at some ages of the note, its colours, and one of bands at some velocities, its dynamics; patterns of
gains at more ages, its details; and a gain of how rough its bands are. The prior is causal by construction: a frame knows of
a note only by its ages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.prior.note_features import NEVER_S, NoteFeatures

DRUM_PROGRAM = 128  # the row of the program table that all drums share
KEYS = 128
COLOURED = range(21, 109)  # keys that have colours of their own, a piano's; those beyond have the nearest one's, moved to their pitch
# From the onset to a frame's first sample, of the colours; between them gains are interpolated. Single notes that were not learned from
# are 0.56 nepers wrong without colours, 0.38 with one, 0.34 with three, 0.31 with these six, 0.28 with sixteen.
COLOUR_AGES_S = (-0.03, 0.0, 0.06, 0.2, 0.6, 1.6)
# Of the dynamics, likewise; many programs have other recordings for loud notes. With six colours other single notes are 0.29 nepers wrong,
# with the dynamics of each bin 0.24, of bands of two, four and eight bins 0.243, 0.247 and 0.251.
DYNAMICS = (0.15, 0.35, 0.55, 0.75, 0.95)
BAND = 4  # bins
# Of the details, what a recording does at these ages besides: closest where notes begin. A code is a pattern of two ages and four bins. Of
# single notes that were not learned from, which are 0.203 nepers wrong without details, some 40 ages leave 0.160, 76 of them 0.148.
DETAIL_AGES_S = (
    *(round(0.01 * k, 2) for k in range(-4, 20)),
    *(round(0.02 * k, 2) for k in range(10, 25)),
    *(round(0.05 * k, 2) for k in range(10, 22)),
    *(round(0.1 * k, 1) for k in range(11, 20)),
)
DETAIL_AGES, DETAIL_BINS = 2, 4
PATTERNS = 256


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of the note prior, and the mel format that its harmonics are placed in."""

    mel_bins: int = 128
    sample_rate_hz: int = 16000
    window_samples: int = 640
    fft_size: int = 1024
    low_hz: float = 0.0
    high_hz: float = 8000.0
    log_floor: float = math.log(1e-5)
    shapes: int = 16
    harmonics: int = 48
    width: int = 256
    frame_width: int = 64
    memory: int = 96
    ring_s: float = 3.0

    @property
    def window_s(self) -> float:
        """What one frame covers."""
        return self.window_samples / self.sample_rate_hz


class NotePrior(nn.Module):
    """(notes, frames) to log mel."""

    lobes: Tensor
    details: Tensor
    patterns: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = c = config
        self.program = nn.Embedding(DRUM_PROGRAM + 1, 32)
        self.key = nn.Embedding((DRUM_PROGRAM + 1) * KEYS, 16)
        nn.init.normal_(self.key.weight, std=0.02)
        # What no rule says of a key of a program, since each few keys are another recording.
        self.memory = nn.Embedding((DRUM_PROGRAM + 1) * KEYS, c.memory)
        nn.init.normal_(self.memory.weight, std=0.1)
        # Log gains.
        self.colours = nn.Embedding((DRUM_PROGRAM + 1) * len(COLOURED), len(COLOUR_AGES_S) * c.mel_bins)
        self.dynamics = nn.Embedding((DRUM_PROGRAM + 1) * len(COLOURED), len(DYNAMICS) * (c.mel_bins // BAND))
        self.unrest = nn.Embedding((DRUM_PROGRAM + 1) * len(COLOURED), c.mel_bins // BAND)  # of the roughness
        for table in (self.colours, self.dynamics, self.unrest):
            nn.init.zeros_(table.weight)
        codes = len(DETAIL_AGES_S) // DETAIL_AGES * (c.mel_bins // DETAIL_BINS)
        self.register_buffer("details", torch.zeros((DRUM_PROGRAM + 1) * len(COLOURED), codes, dtype=torch.uint8))
        self.register_buffer("patterns", torch.zeros(PATTERNS, DETAIL_AGES * DETAIL_BINS))  # log gains; the first are 0
        self.note = nn.Sequential(nn.Linear(32 + 16 + PITCH_FEATURES + 3, c.width), nn.GELU(), nn.Linear(c.width, c.width), nn.GELU())
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
        self.frame = nn.Linear(frame_feature_count(c.window_s), c.frame_width)
        self.weights = nn.Sequential(nn.GELU(), nn.Linear(c.frame_width, c.frame_width), nn.GELU(), nn.Linear(c.frame_width, c.shapes))
        with torch.no_grad():
            self.harmonics.bias.fill_(-6.5)
            self.spectrum.bias.fill_(-9.0)
            self.roughness.bias.fill_(-1.5)
            self.inharmonicity.bias.fill_(-10.0)
            self.inharmonicity.weight.zero_()
        self.make_constants()

    @property
    def recalled(self) -> tuple[int, int, int, int]:
        """How many numbers the memory adds to harmonics, spectrum, inharmonicity and envelope."""
        c = self.config
        return c.shapes * c.harmonics, c.shapes * c.mel_bins, 1, c.frame_width

    def make_constants(self) -> None:
        """The table of partials: derived from the config, so not part of a checkpoint."""
        if not self.program.weight.is_meta:
            self.register_buffer("lobes", harmonic_lobes(self.config), persistent=False)

    def forward(self, x: NoteFeatures) -> Tensor:
        """Log mel (F, mel_bins), natural log, of one part's notes together."""
        notes = self.contributions(x)
        return log_mel_of(summed(notes.power, notes.frame, x.active.shape[1]), self.config.log_floor)

    def contributions(self, x: NoteFeatures) -> Contributions:
        """Every row's part in the sum, for pairs of a note and a frame that it may be heard in."""
        timbres = self.timbres(x)
        note, frame = x.active.nonzero(as_tuple=True)
        age, *ages, gain = (values[note, frame] for values in x.over_time)
        pairs = self._weights(timbres.envelope[note], *_lasted(age, gain, timbres.lasting[note], ages))
        pairs = self._fallen(pairs, timbres.envelope[note], timbres.lasting[note], (age, *ages, gain))
        weights = pairs.new_zeros(*x.active.shape, pairs.shape[1]).index_put((note, frame), pairs)
        after, share = between(age, DETAIL_AGES_S)
        colours = torch.lerp(timbres.colours[note, after - 1], timbres.colours[note, after], share[:, None])
        power = (weights @ timbres.shapes)[note, frame] * colours
        rough = (weights.detach() @ timbres.rough)[note, frame] * colours.detach()  # the means learn nothing from it
        return Contributions(note, frame, power, rough)

    def timbres(self, x: NoteFeatures) -> Timbres:
        """What of each row does not depend on time."""
        program = torch.where(x.drum, DRUM_PROGRAM, x.program)
        velocity = torch.stack((x.velocity, x.velocity.square(), torch.log(x.velocity + 0.02)), -1)
        cell = program * KEYS + x.key
        features = torch.cat((self.program(program), self.key(cell), pitch_features(x.pitch), velocity), -1)
        c = self.config
        note, memory = self.note(features), self.memory(cell)  # (N, width), (N, memory)
        heads = (self.harmonics, self.spectrum, self.inharmonicity, self.frame_note)
        recalled = self.recall(memory).split(self.recalled, -1)
        levels, free, inharmonicity, envelope = (head(note) + more for head, more in zip(heads, recalled, strict=True))
        levels = levels.float().unflatten(-1, (c.shapes, c.harmonics)).clamp(-14.0, 6.0)
        free = free.float().unflatten(-1, (c.shapes, c.mel_bins)).clamp(-14.0, 6.0)
        partials_hz = self._partials_hz(x.pitch, inharmonicity.float().squeeze(-1))
        shapes = (2 * levels).exp() @ self._responses(partials_hz) + (2 * free).exp()  # (N, K, mel)
        # The means learn nothing from how far they are missed.
        roughness = self.roughness(note.detach()) + self.recall_roughness(memory.detach())
        roughness = roughness.float().unflatten(-1, (c.shapes, c.mel_bins)).clamp(-6.0, 0.5).exp()
        coloured = x.key.clamp(COLOURED[0], COLOURED[-1])
        row = program * len(COLOURED) + coloured - COLOURED[0]
        bands = self.dynamics(row).unflatten(-1, (len(DYNAMICS), -1))  # (N, velocities, bands)
        dynamics = torch.einsum("nv,nvb->nb", shares_of(x.velocity, DYNAMICS), bands).repeat_interleave(BAND, -1)
        between_ages = shares_of(torch.tensor(DETAIL_AGES_S, device=row.device), COLOUR_AGES_S)
        colours = between_ages @ self.colours(row).unflatten(-1, (len(COLOUR_AGES_S), -1)) + dynamics[:, None]
        colours = (2 * self._moved(colours + laid_out(self.patterns[self.details[row].long()]), x.pitch - coloured)).exp()
        rough = roughness * shapes.detach() * self.unrest(row).exp().repeat_interleave(BAND, -1)[:, None]
        return Timbres(envelope, shapes, rough, colours, self._lasting(envelope, shapes * colours[:, -1:]))

    def _moved(self, gains: Tensor, semitones: Tensor) -> Tensor:
        """Log gains (N, J, mel) of sounds that are played so much higher, (N,): a recording's spectrum is moved as a whole."""
        c = self.config
        lowest, highest = mel_of(c.low_hz), mel_of(c.high_hz)
        step = (highest - lowest) / (c.mel_bins + 1)
        centres = torch.expm1((lowest + step * torch.arange(1, c.mel_bins + 1, device=gains.device)) / 1127)
        source = 1127 * torch.log1p(centres * torch.exp(-semitones[:, None] * (math.log(2) / 12)))
        place = ((source - lowest) / step - 1).clamp(0, c.mel_bins - 1.001)[:, None].expand_as(gains)
        below = place.long()
        return torch.lerp(gains.gather(-1, below), gains.gather(-1, below + 1), place - below)

    def _lasting(self, envelope: Tensor, shapes: Tensor) -> Tensor:
        """From when on a held note goes on as it does there, in seconds, and how: in nepers a second; and whether it rises at first. (N, 3).

        Training knows notes of some seconds. What sustains there stays as it is from then on; what decays goes on decaying.
        """
        ages = torch.zeros_like(envelope[:, :1]).float() + torch.tensor((*LASTING_S, *RISING_S), device=envelope.device)
        never, none = torch.full_like(ages, -NEVER_S), torch.zeros_like(ages)
        weights = self._weights(envelope[:, None], ages, never, never, none, none, none)
        levels = 0.5 * torch.log((weights * shapes.sum(-1)[:, None]).sum(-1) + 1e-30)
        early, sustained, late, last, first, risen = levels.unbind(1)
        stays = (sustained - early) / (LASTING_S[1] - LASTING_S[0]) > -SUSTAINED_NEPERS_S
        rate = ((last - late) / (LASTING_S[3] - LASTING_S[2])).clamp(max=0.0)
        start = torch.where(stays, LASTING_S[1], LASTING_S[3])
        return torch.stack((start, torch.where(stays, 0.0, rate), (risen > first).to(rate)), -1).detach()

    def _fallen(self, weights: Tensor, envelope: Tensor, lasting: Tensor, over_time: Sequence[Tensor]) -> Tensor:
        """Weights (P, K) in which a note that was let go while it rose falls from where it was.

        How long a note had been held is plain while its end is near, and lost in the features of ages behind that: then a short note with
        a slow attack was given the end of a long one, up to 20 dB too much. Its shapes fall as a longer note's do from there on, or faster.

        Args:
            weights: of the shapes, as the network says.
            envelope, lasting: (P, frame_width) and (P, 3) of the notes.
            over_time: (P,) each, as `NoteFeatures.over_time`.
        """
        age_s, release_s, choke_s, *_ = over_time
        length_s = age_s - release_s
        short = (lasting[:, 2] > 0) & (release_s > TOLD_S) & (length_s < RISING_S[1]) & (choke_s <= -self.config.window_s)
        if not short.any():
            return weights
        envelope, length_s = envelope[short], length_s[short]
        _, release_s, never, pedal, mod, gain = (x[short] for x in over_time)
        told, none = torch.full_like(release_s, TOLD_S), torch.zeros_like(release_s)
        longer = self._weights(envelope, RISING_S[1] + release_s, release_s, never, pedal, mod, gain)
        own, its = (self._weights(envelope, x + told, told, never, none, none, none) for x in (length_s, none + RISING_S[1]))
        return weights.index_put((short,), torch.minimum(weights[short], longer * own / its))

    def _weights(
        self, envelope: Tensor, age_s: Tensor, release_s: Tensor, choke_s: Tensor, pedal: Tensor, mod: Tensor, gain: Tensor
    ) -> Tensor:
        """Of a note in a frame: envelope (..., frame_width), the others (...), to (..., K)."""
        ages = [age_features(x, self.config.window_s) for x in (age_s, release_s, choke_s)]
        frames = self.frame(torch.cat((*ages, pedal[..., None], mod[..., None]), -1)) + envelope
        return (2 * (self.weights(frames).float().clamp(-16.0, 6.0) + gain[..., None])).exp()

    def _partials_hz(self, pitch: Tensor, log_inharmonicity: Tensor) -> Tensor:
        """Frequencies (N, H) of the partials, stretched as those of a stiff string (Fletcher 1964)."""
        number = torch.arange(1, self.config.harmonics + 1, device=pitch.device, dtype=pitch.dtype)
        stretch = torch.sqrt(1 + log_inharmonicity.clamp(-14.0, -3.0).exp()[:, None] * number.square())
        return 440 * torch.exp((pitch[:, None] - 69) * (math.log(2) / 12)) * number * stretch

    def _responses(self, hertz: Tensor) -> Tensor:
        """Power response of the mel bins to each partial at amplitude 1: (N, H, mel_bins), zero above the format's range."""
        position = hertz / (self.config.sample_rate_hz / 2) * (len(self.lobes) - 2)
        position = position.clamp(max=len(self.lobes) - 1.001)
        below = position.detach().long()
        fraction = (position - below)[..., None]
        return torch.lerp(self.lobes[below], self.lobes[below + 1], fraction)


class Timbres(NamedTuple):
    """A note without its time."""

    envelope: Tensor  # (N, frame_width) what the frame network knows of the note
    shapes: Tensor  # (N, K, mel_bins)
    rough: Tensor  # (N, K, mel_bins) the same times each one's roughness
    colours: Tensor  # (N, J, mel_bins) gains of the power at DETAIL_AGES_S, dynamics and details included
    lasting: Tensor  # (N, 3) see NotePrior._lasting


LASTING_S = (4.0, 6.0, 8.0, 12.0)  # whether a note sustains shows in the first two, how it decays in the others
SUSTAINED_NEPERS_S = 0.09  # 0.8 dB
RISING_S = (0.06, 0.5)  # a note whose attack is slow is louder at the second
# Behind a note's end, how long the networks tell a short note from one of RISING_S[1]. The ends of 768 notes of up to 0.42 s, a random key and
# velocity of each program, are 0.108 nepers wrong without NotePrior._fallen, 0.097 with 0.1, 0.2 and 0.3 s alike.
TOLD_S = 0.25


def _lasted(age_s: Tensor, gain: Tensor, lasting: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Ages and gain with what lasts for longer than training knows: ``lasting`` (..., 3) as :meth:`NotePrior._lasting` gives it."""
    start_s, rate, _ = lasting.unbind(-1)
    return torch.minimum(age_s, start_s), *others, gain + rate * (age_s - start_s).clamp_min(0.0)


def between(x: Tensor, points: Sequence[float]) -> tuple[Tensor, Tensor]:
    """For places (N,) the index of the second of the ascending ``points`` that each lies between, and how far it is on the way to it, (N,)."""
    places = torch.tensor(points, device=x.device)
    x = x.clamp(points[0], points[-1]).contiguous()
    after = torch.searchsorted(places, x).clamp_min(1)
    return after, (x - places[after - 1]) / (places[after] - places[after - 1])


def shares_of(x: Tensor, points: Sequence[float]) -> Tensor:
    """What linear interpolation takes of a value at each of the ascending ``points``, for places (N,): (N, points), together 1."""
    after, share = between(x, points)
    columns, shares = torch.stack((after - 1, after), -1), torch.stack((1 - share, share), -1)
    return x.new_zeros(len(x), len(points)).scatter(-1, columns, shares)


def laid_out(patterns: Tensor) -> Tensor:
    """Patterns (N, codes, DETAIL_AGES * DETAIL_BINS) of details as gains at ages: (N, J, mel_bins)."""
    ages = len(DETAIL_AGES_S) // DETAIL_AGES
    return patterns.unflatten(-1, (DETAIL_AGES, DETAIL_BINS)).unflatten(1, (ages, -1)).transpose(2, 3).flatten(3).flatten(1, 2)


class Contributions(NamedTuple):
    """What notes are in frames: P pairs of them."""

    note: Tensor  # (P,) row
    frame: Tensor  # (P,)
    power: Tensor  # (P, mel)
    rough: Tensor  # (P, mel) the same, each shape times its roughness


def summed(x: Tensor, frame: Tensor, frames: int) -> Tensor:
    """Of all notes in each frame: (P, mel) of pairs with ``frame`` (P,) to (frames, mel)."""
    return x.new_zeros(frames, x.shape[1]).index_add(0, frame, x)


def mean_roughness(power: Tensor, rough: Tensor, frame: Tensor, beats: Tensor, total: Tensor, log_floor: float) -> Tensor:
    """How much a frame's log mel differs from what is expected of its notes, beyond what the frames beside it do too: (F, mel).

    The standard deviation in nepers, 0 where nothing sounds: a mean over the notes by power, and with it what notes beside each other
    add, whose partials beat; that goes by the chance that two parcels of power are not of the same note.

    Args:
        power, rough, frame: of :class:`Contributions`.
        beats: (mel_bins,) log of what notes add where each is nothing beside all.
        total: (F, mel) power of the notes together.
    """
    whole = total + math.exp(2 * log_floor)
    own = summed(rough, frame, len(total)) / whole
    shares = summed(power.square(), frame, len(total)) / whole.square()
    crowd = (total / whole).square() - shares
    variance = own.square() + (2 * beats).exp() * crowd.clamp_min(0.0)
    return (variance + 1e-12).sqrt()  # at 0 a root has no slope to learn by


def log_mel_of(power: Tensor, log_floor: float) -> Tensor:
    """Log of its root, not below the floor."""
    return 0.5 * torch.log(power + math.exp(2 * log_floor))


def harmonic_lobes(c: PriorConfig, steps: int = 4096) -> Tensor:
    """Power of each mel bin for a sinusoid of amplitude 1 at ``steps`` frequencies up to Nyquist: (steps + 1, mel_bins).

    The last rows stand for everything above Nyquist and are zero.
    """
    hertz = torch.arange(steps, dtype=torch.float64) / (steps - 1) * (c.sample_rate_hz / 2)
    bins_hz = torch.arange(c.fft_size // 2 + 1, dtype=torch.float64) / c.fft_size * c.sample_rate_hz
    # The Hann window's transform (Harris 1978), as a function of the distance in cycles per window.
    x = (bins_hz - hertz[:, None]) / c.sample_rate_hz * c.window_samples
    lobe = c.window_samples / 4 * (torch.sinc(x) + 0.5 * torch.sinc(x - 1) + 0.5 * torch.sinc(x + 1)).abs()
    edges = torch.linspace(mel_of(c.low_hz), mel_of(c.high_hz), c.mel_bins + 2, dtype=torch.float64)
    bins_mel = 1127 * torch.log1p(bins_hz / 700)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((bins_mel - low) / (centre - low), (high - bins_mel) / (high - centre)).clamp_min(0)
    triangles[0] = 0
    power = (lobe @ triangles).square()
    power[-2:] = 0
    return torch.cat((power, torch.zeros_like(power[:1]))).float()


def mel_of(hertz: float) -> float:
    """HTK mel scale."""
    return 1127 * math.log1p(hertz / 700)


PITCH_OCTAVES = tuple(2 ** (0.9 * k) for k in range(6))  # of the pitch's sinusoids
PITCH_FEATURES = 1 + 2 * len(PITCH_OCTAVES)


def pitch_features(pitch: Tensor) -> Tensor:
    """(N,) semitones to (N, 13): linear, and sinusoids from the whole keyboard down to a third."""
    scaled = (pitch - 64) / 64
    angles = scaled[:, None] * math.pi * torch.tensor(PITCH_OCTAVES, device=pitch.device)
    return torch.cat((scaled[:, None], angles.sin(), angles.cos()), -1)


HAT_S = 0.005  # distance of the hats: a frame sees where in it an event lies
HATS_AFTER_S = 0.06
DECAYS_S = torch.tensor([0.02, 0.06, 0.2, 0.6, 2.0, 6.0])


def frame_feature_count(window_s: float) -> int:
    """What the frame network reads: the features of three ages, pedal and modulation."""
    return 3 * (len(hats_s(window_s)) + len(DECAYS_S) + 2) + 2


def hats_s(window_s: float) -> Tensor:
    """Ages at the middles of the hats."""
    return torch.arange(round((window_s + HATS_AFTER_S) / HAT_S) + 1) * HAT_S - window_s


def age_features(age_s: Tensor, window_s: float) -> Tensor:
    """Piecewise linear around the event, exponential and log after it; all zero in a frame that ends before it."""
    happened = (age_s > -window_s)[..., None].to(age_s.dtype)
    middles_s = hats_s(window_s).to(age_s.device)
    hats = F.relu(1 - (age_s[..., None] - middles_s).abs() / HAT_S) * happened
    past = age_s.clamp_min(0.0)[..., None]
    decays = torch.exp(-past / DECAYS_S.to(age_s.device)) * happened
    return torch.cat((hats, decays, torch.log1p(past.clamp_max(NEVER_S) * 50) / 4 * happened, happened), -1)
