"""Trains the spectrogram model: the note prior, the decoder upon it, and the decoder once more on its own results, for few steps."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.base.formats import MelFormat
from specdiffd.diffusion.caches import NEVER_VISIBLE, Conditioning
from specdiffd.diffusion.config import DecoderConfig, EncoderConfig
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.encoders import ContextEncoder, NotesEncoder
from specdiffd.diffusion.sampler import flow_step, flow_times
from specdiffd.dsp.mel import log_mel
from specdiffd.instruments.checkpoint import read_weights
from specdiffd.instruments.layout import PRIOR
from specdiffd.prior.config import PriorConfig
from specdiffd.prior.mixing import Contributions, log_mel_of, mean_roughness, summed
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import NoteFeatures, note_features
from specdiffd.prior.texture import NEXT_FRAME
from specdiffd.tokens.codec import PAD, Codec
from specdiffd.tokens.window import window_tokens
from specdiffd.train.data import Piece, PieceBank
from specdiffd.train.loop import Run, descend, reduced_precision

log = logging.getLogger(__name__)
M = TypeVar("M", bound=nn.Module)
ROUGHNESS_SHARE = 0.1  # of the prior's loss
LEAST_ROUGHNESS = 0.02  # nepers: less is not told apart
STEADY_NEPERS = 0.25  # a frame
PRIOR_RATE, DECODER_RATE = 2e-3, 5e-4  # of learning, at its highest
SOLOS = 5  # windows of single notes for one of music, in the prior's batches


def mel_target(piece: Piece, fmt: MelFormat, start: int, frames: int) -> Tensor:
    """Log mel (frames, mel_bins) of a piece's audio from frame ``start`` on; silence around the piece."""
    hop = fmt.hop_samples
    first, last = start * hop, (start + frames - 1) * hop + fmt.window_samples
    audio = np.zeros(last - first, np.float32)
    inside = piece.audio[max(0, first) : max(0, last)]
    audio[max(0, -first) : max(0, -first) + len(inside)] = inside
    return log_mel(torch.from_numpy(audio), fmt)[:frames]


def concatenate(windows: Sequence[NoteFeatures]) -> NoteFeatures:
    """Rows of several windows behind each other."""
    return NoteFeatures(*(torch.cat(columns) for columns in zip(*windows, strict=True)))


def _contributions(prior: NotePrior, windows: Sequence[NoteFeatures]) -> tuple[Contributions, Tensor]:
    """Of the notes of several windows, from one pass, and their power together; the frames of each window follow those of the one before."""
    notes, frames = prior.contributions(concatenate(windows)), windows[0].active.shape[1]
    window = torch.repeat_interleave(torch.tensor([len(w.key) for w in windows], device=notes.note.device))
    notes = notes._replace(frame=window[notes.note] * frames + notes.frame)
    return notes, summed(notes.power, notes.frame, len(windows) * frames)


def prior_batch(prior: NotePrior, windows: Sequence[NoteFeatures]) -> Tensor:
    """Log mel (B, F, mel_bins) of several windows in one pass."""
    _, total = _contributions(prior, windows)
    return log_mel_of(total, prior.config.log_floor).unflatten(0, (len(windows), -1))


def rough_batch(prior: NotePrior, windows: Sequence[NoteFeatures]) -> tuple[Tensor, Tensor]:
    """Likewise, and its roughness, from which the mean learns nothing."""
    (notes, total), floor = _contributions(prior, windows), prior.config.log_floor
    roughness = mean_roughness(notes.power.detach(), notes.rough_power, notes.frame, prior.beats, total.detach(), floor)
    parts = (len(windows), -1)
    return log_mel_of(total, floor).unflatten(0, parts), roughness.unflatten(0, parts)


def unlikelihood(error: Tensor, roughness: Tensor) -> Tensor:
    """Negative log-likelihood (B, F - 1, mel) of what changes from frame to frame in what the prior leaves open.

    What does not change, a level that was misjudged for the length of a note, is no texture. Laplace's: by a normal distribution the
    few onsets that are misjudged by nepers would say it all.

    Args:
        error: (B, F, mel) of the log mel.
        roughness: likewise, as predicted, a standard deviation.
    """
    spread = roughness[:, 1:].clamp_min(LEAST_ROUGHNESS)
    return deviation(error) / spread + spread.log()


def deviation(error: Tensor) -> Tensor:
    """Changes (B, F - 1, mel) from frame to frame, such that their mean is the deviation of one frame, if that is normal."""
    return error.diff(dim=1).abs() * math.sqrt(math.pi / (4 * (1 - NEXT_FRAME)))


def steady(predicted: Tensor) -> Tensor:
    """1 where a log mel (B, F, mel) goes on much as it did, 0 at onsets and releases; (B, F - 1, mel)."""
    return (predicted.detach().diff(dim=1).abs() < STEADY_NEPERS).float()


def audible_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference in nepers; bins more than 50 dB below a usual note count half."""
    return ((predicted - target).abs() * audible(torch.maximum(predicted.detach(), target))).mean()


def audible(mel: Tensor) -> Tensor:
    """What bins of a log mel count: half, more than 50 dB below a usual note."""
    return 0.5 + 0.5 * torch.sigmoid(mel + 6.0)


def train_prior(
    out: Path,
    bank: PieceBank,
    solos: PieceBank,
    fmt: MelFormat,
    config: PriorConfig,
    start: Path | None = None,
    *,
    minutes: float,
    batch: int,
    device: str,
) -> None:
    """Train the note prior alone until ``minutes`` are used, resuming from ``out`` if it holds a run.

    Args:
        solos: pieces of single notes, which tell most for what they cost: few are heard at a time, and none hides another.
        start: a checkpoint whose weights a new run begins with.
        batch: windows of ``bank`` a step; there are ``SOLOS`` times as many of ``solos``.
    """
    torch.manual_seed(0)
    prior = begin(NotePrior(config), start and start / PRIOR).to(device)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=PRIOR_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    run = Run(out, prior, {"optimizer": optimizer}, minutes, asdict(config))
    rng = np.random.default_rng(run.step + 1)
    frames = 96
    for _ in run:
        targets: list[Tensor] = []
        windows: list[NoteFeatures] = []
        for source, wanted in ((bank, batch), (solos, batch * (1 + SOLOS))):
            source.check()
            while len(windows) < wanted:
                piece = source.pieces[int(rng.integers(len(source.pieces)))]
                first = int(rng.integers(-4, len(piece.audio) // fmt.hop_samples - frames))
                features = note_features(piece.performance, fmt.starts_s(first, frames), config.window_s, config.ring_s)
                if 0 < len(features.key) < 600:
                    windows.append(features.to(device))
                    targets.append(mel_target(piece, fmt, first, frames))
        with reduced_precision(device):
            predicted, roughness = rough_batch(prior, windows)
        target = torch.stack(targets).to(device)
        error = (target - predicted).detach()
        unlikely = (unlikelihood(error, roughness) * audible(torch.maximum(predicted.detach(), target))[:, 1:] * steady(predicted)).mean()
        loss = audible_l1(predicted, target)
        descend(optimizer, loss + ROUGHNESS_SHARE * unlikely, 1.0)
        run.note({"loss": float(loss.detach()), "l1": float(error.abs().mean()), "unlikely": float(unlikely.detach())})


def train_decoder(
    out: Path,
    bank: PieceBank,
    fmt: MelFormat,
    prior: NotePrior,
    codec: Codec,
    encoder: EncoderConfig,
    decoder: DecoderConfig,
    start: Path | None = None,
    *,
    minutes: float,
    batch: int,
    device: str,
    reflow_steps: int | None = None,
) -> None:
    """Train encoders and decoder upon a finished prior, as they will run: causally, all frames of a window at one time of the flow.

    Args:
        start: a checkpoint whose weights a new run begins with.
        reflow_steps: learn from what ``start`` makes of noise in so many steps, not from the music itself (reflow, arXiv
            2209.03003, section 2.2): the way from a noise to its spectrogram becomes straight, so that few steps do as well.
    """
    torch.manual_seed(0)
    model = FlowModel(encoder, decoder)
    for name, part in model.named_children():
        begin(part, start and start / name)
    model.to(device)
    teacher = None if reflow_steps is None else Teacher(copy.deepcopy(model).eval().requires_grad_(False), reflow_steps)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=DECODER_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    config = {"encoder": asdict(encoder), "decoder": asdict(decoder), "codec": asdict(codec)}
    run = Run(out, model, {"optimizer": optimizer}, minutes, config)
    rng = np.random.default_rng(run.step + 1)
    prior = prior.to(device)
    for _ in run:
        bank.check()
        examples = [window_example(bank, fmt, codec, prior, decoder.targets_length, rng) for _ in range(batch)]
        loss, measures = model.loss(examples, prior, fmt, rng, device, teacher)
        descend(optimizer, loss, 1.0)
        run.note(measures)


class WindowExample(NamedTuple):
    """One window to learn from."""

    target: Tensor  # (F, mel) natural log
    context: Tensor  # (n, mel) natural log, the frames before the window; n may be 0
    features: NoteFeatures
    ids: list[int]
    visible_from: list[int]


def window_example(bank: PieceBank, fmt: MelFormat, codec: Codec, prior: NotePrior, frames: int, rng: np.random.Generator) -> WindowExample:
    """A window at a random place of a random piece, with none, some or all of its context."""
    config = prior.config
    while True:
        piece = bank.pieces[int(rng.integers(len(bank.pieces)))]
        start = int(rng.integers(-frames // 4, len(piece.audio) // fmt.hop_samples - frames))
        features = note_features(piece.performance, fmt.starts_s(start, frames), config.window_s, config.ring_s)
        if 0 < len(features.key) < 600:
            break
    tokens = window_tokens(piece.performance, start * fmt.frame_s, (start + frames) * fmt.frame_s, codec)
    visible = [0 if t == -math.inf else max(0, fmt.first_frame_of(t) - start) for t in tokens.times_s[:-1]]
    length = {0: 0, 1: int(rng.integers(1, frames))}.get(int(rng.integers(6)), frames)
    length = min(length, max(0, start))
    mel = mel_target(piece, fmt, start - length, length + frames)
    return WindowExample(mel[length:], mel[:length], features, tokens.ids[:-1], visible)


class FlowModel(nn.Module):
    """Encoders and decoder together, and their loss."""

    def __init__(self, encoder: EncoderConfig, decoder: DecoderConfig) -> None:
        super().__init__()
        self.notes_encoder = NotesEncoder(encoder)
        self.continuous_encoder = ContextEncoder(encoder)
        self.decoder = Decoder(decoder)

    def conditioning(self, examples: Sequence[WindowExample], fmt: MelFormat, device: str) -> Conditioning:
        """Encodings of notes and context, padded."""
        ids = _padded([torch.tensor(e.ids) for e in examples], PAD).to(device)
        visible = _padded([torch.tensor(e.visible_from) for e in examples], NEVER_VISIBLE).to(device)
        longest = max(len(e.context) for e in examples)
        encoded = self.notes_encoder(ids)
        if longest == 0:
            return self.decoder.condition(encoded, visible)
        context = torch.stack([F.pad(fmt.scale(e.context), (0, 0, longest - len(e.context), 0)) for e in examples]).to(device)
        there = torch.stack([torch.arange(longest) >= longest - len(e.context) for e in examples]).to(device)
        there[:, -1] |= ~there.any(1)  # attention needs one place to look; it is not visible to the decoder
        encodings = torch.cat((self.continuous_encoder(context, there), encoded), 1)
        none = torch.tensor([not len(e.context) for e in examples], device=device)
        context_visible = torch.where(there & ~none[:, None], 0, NEVER_VISIBLE)
        return self.decoder.condition(encodings, torch.cat((context_visible, visible), 1))

    def loss(
        self,
        examples: Sequence[WindowExample],
        prior: NotePrior,
        fmt: MelFormat,
        rng: np.random.Generator,
        device: str,
        teacher: Teacher | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """Velocity error of the flow at a random time."""
        c = self.decoder.config
        with reduced_precision(device):
            with torch.no_grad():
                guess = fmt.scale_unclipped(prior_batch(prior, [e.features.to(device) for e in examples]).float())
            conditioning = self.conditioning(examples, fmt, device)
            natural = torch.stack([e.target for e in examples]).to(device)
            target = fmt.scale(natural)
            size = len(target)
            t = torch.from_numpy(np.where(rng.random(size) < 0.4, 1.0, rng.random(size))).to(device, torch.float32)
            films = self.decoder.schedule(t).at(torch.arange(size, device=device)[:, None])
            t = t[:, None, None]
            noise = torch.randn_like(target)
            if teacher is None:
                residual = ((target - guess) / c.noise_scale).clamp(-8.0, 8.0)
            else:
                residual = teacher(noise, guess, examples, fmt)
            x = guess + c.noise_scale * ((1 - t) * residual + t * noise)
            predicted, _ = self.decoder.step(x, guess, films, conditioning, self.decoder.init_state(size))
        error = predicted - (noise - residual)
        weight = audible(natural)
        loss = (error.square() * weight).sum() / weight.sum()
        with torch.no_grad():
            clean = x - t * c.noise_scale * predicted
            half_range = (fmt.log_ceiling - fmt.log_floor) / 2
            l1, prior_l1 = (float((mel - target).abs().mean() * half_range) for mel in (clean, guess))
        return loss, {"loss": float(loss.detach()), "l1": l1, "prior_l1": prior_l1}


class Teacher(NamedTuple):
    """A trained decoder that says where a noise leads to."""

    model: FlowModel
    steps: int

    @torch.no_grad()
    def __call__(self, noise: Tensor, guess: Tensor, examples: Sequence[WindowExample], fmt: MelFormat) -> Tensor:
        """What the decoder adds to ``guess`` (B, F, mel_bins), in units of its noise scale, from ``noise``."""
        decoder, scale = self.model.decoder, self.model.decoder.config.noise_scale
        conditioning = self.model.conditioning(examples, fmt, str(noise.device))
        films = decoder.schedule(torch.tensor(flow_times(self.steps)[:-1], device=noise.device))
        x = guess + scale * noise
        for number in range(self.steps):
            place = torch.full((1, 1), number, device=noise.device)
            velocity, _ = decoder.step(x, guess, films.at(place), conditioning, decoder.init_state(len(noise)))
            x = flow_step(x, velocity, number, self.steps, scale)
        return (x - guess) / scale


def begin(module: M, folder: Path | None) -> M:
    """``module`` to be trained, with a checkpoint's weights for the component if there is one, as far as they are of its shapes."""
    if folder is not None:
        own, stored = module.state_dict(), read_weights(folder)
        fitting = {key: value for key, value in stored.items() if key in own and value.shape == own[key].shape}
        module.load_state_dict(own | fitting)
        log.info("%s: %d of %d tensors begin with those of %s", type(module).__name__, len(fitting), len(own), folder)
    return module


def _padded(rows: Sequence[Tensor], value: int) -> Tensor:
    longest = max(len(r) for r in rows)
    return torch.stack([F.pad(r, (0, longest - len(r)), value=value) for r in rows])
