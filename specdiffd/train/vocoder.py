"""Trains the built-in vocoder: spectral and frequency losses first, discriminators for the later part."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from specdiffd.base.formats import NO_GUIDE, MelFormat
from specdiffd.dsp.mel import log_mel
from specdiffd.dsp.spectra import spectral_loss
from specdiffd.instruments.layout import VOCODER
from specdiffd.prior.note_features import note_features
from specdiffd.prior.playing import PlayedPrior
from specdiffd.train.data import PieceBank
from specdiffd.train.loop import Run, descend, reduced_precision
from specdiffd.train.losses import Discriminators, adversarial_loss, discriminator_loss, frequency_loss, power_loss
from specdiffd.train.spectrogram import begin
from specdiffd.vocoder import oscillators
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.streaming import Vocoder

log = logging.getLogger(__name__)
WARM_UP_FRAMES = 6  # a crop begins in the middle of music, with an empty state: its start is not judged
JUDGED_CROPS, JUDGED_S = 2, 0.512  # of a batch, at random, by the discriminators: they cost more than the generator
# Spectrograms that are predicted, not measured, are a few milliseconds wrong about when a note began; the guide is not. So the mel of
# guided crops is up to this much early or late: the vocoder learns whom to believe.
ASTRAY_S = 0.004
OWN_SHARE = 0.4  # of the guided crops have the prior's mel, since that, or what is made of it, is what the vocoder is given when it plays
LEARNING_RATE = 5e-4  # at its highest
BASE_RATE_HZ = 16000  # whose sizes the losses' are given for


def train_vocoder(
    out: Path,
    bank: PieceBank,
    fmt: MelFormat,
    config: VocoderConfig,
    prior: PlayedPrior,
    start: Path | None = None,
    *,
    minutes: float,
    batch: int,
    adversarial_from: float,
    device: str,
) -> None:
    """Train until ``minutes`` of this run's wall-clock time are used, resuming from ``out`` if it holds a run.

    Args:
        prior: makes the guides; a third of the crops go without.
        start: a checkpoint whose weights a new run begins with.
        adversarial_from: share of the time after which the discriminators take part (1: never).
    """
    torch.manual_seed(0)
    scale = fmt.sample_rate_hz // BASE_RATE_HZ
    vocoder, judges = begin(Vocoder(config), start and start / VOCODER).to(device), Discriminators(scale).to(device)
    optimizer = torch.optim.AdamW(vocoder.parameters(), lr=LEARNING_RATE, betas=(0.8, 0.99), weight_decay=0.01)
    judge_optimizer = torch.optim.AdamW(judges.parameters(), lr=LEARNING_RATE, betas=(0.8, 0.99))
    run = Run(out, vocoder, {"optimizer": optimizer, "judges": judges, "judge_optimizer": judge_optimizer}, minutes, asdict(config))
    rng = np.random.default_rng(run.step + 1)
    frames = 72
    with compiled_oscillators(device):
        for _ in run:
            bank.check()
            target, predicted, losses = _reconstruct(vocoder, *crops(bank, prior, fmt, rng, batch, frames, device), fmt, scale)
            if run.progress >= adversarial_from:
                losses |= _adversarial(judges, judge_optimizer, target, predicted, round(JUDGED_S * fmt.sample_rate_hz), rng)
            loss = torch.stack(list(losses.values())).sum()
            descend(optimizer, loss, 5.0)
            run.note({name: float(value.detach()) for name, value in losses.items()})


@contextmanager
def compiled_oscillators(device: str) -> Iterator[None]:
    """Training spends most of its time in the oscillators; compiled they take a third of it."""
    if device.startswith("cpu") and not (shutil.which("g++") or shutil.which("clang++")):
        log.warning("no C++ compiler found, training goes on without (apt-get install g++ to be faster)")
        yield
        return
    plain = oscillators.oscillate
    oscillators.oscillate = torch.compile(plain)
    try:
        yield
    finally:
        oscillators.oscillate = plain


@torch.no_grad()
def crops(
    bank: PieceBank, prior: PlayedPrior, fmt: MelFormat, rng: np.random.Generator, batch: int, frames: int, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Random stretches of ``frames`` + 1 hops, few of them silent: audio (B, samples), their mel (B, frames, mel; of some the
    prior's, else the audio's own, a little early or late) and guides (B, frames, mel, 5)."""
    audio: list[Tensor] = []
    mels: list[Tensor] = []
    guides: list[Tensor] = []
    none = torch.tensor(NO_GUIDE, device=device).expand(frames, fmt.mel_bins, len(NO_GUIDE))
    while len(audio) < batch:
        piece = bank.pieces[int(rng.integers(len(bank.pieces)))]
        start = int(rng.integers(1, len(piece.audio) // fmt.hop_samples - frames - 2))
        around = torch.from_numpy(piece.audio[(start - 1) * fmt.hop_samples : (start + frames + 2) * fmt.hop_samples])
        crop = around[fmt.hop_samples : -fmt.hop_samples]
        if crop.abs().max() < 1e-3 and rng.random() > 0.02:
            continue
        features = note_features(piece.performance, fmt.starts_s(start, frames), prior.config.window_s, prior.config.ring_s)
        guided = rng.random() > 1 / 3 and len(features.key) < 400
        audio.append(crop)
        heard = prior(features) if guided else None
        guides.append(heard.guide.to(device) if heard else none)
        if heard and rng.random() < OWN_SHARE:
            mels.append(heard.mel.to(device))
            continue
        most = round(ASTRAY_S * fmt.sample_rate_hz) if guided else 0
        early = fmt.hop_samples + int(rng.integers(-most, most + 1))
        mels.append(log_mel(around[early : early + len(crop)].to(device), fmt)[:-1])
    return torch.stack(audio).to(device), torch.stack(mels), torch.stack(guides)


def _reconstruct(
    vocoder: Vocoder, audio: Tensor, mel: Tensor, guides: Tensor, fmt: MelFormat, scale: int
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Synthesis of a batch from ``mel``: target and prediction (B, samples) of the judged stretch, and the losses."""
    c = vocoder.config
    state = vocoder.init_state(len(audio))
    with reduced_precision(audio.device):
        heads, seen = vocoder.analyse(mel, state, guides)
    stream, _ = vocoder.synthesise(heads, seen, state)
    late, skip = c.lookahead_frames * c.hop_samples, WARM_UP_FRAMES * c.hop_samples
    predicted = stream[:, late + skip :]
    target = audio[:, skip : skip + predicted.shape[1]]
    tones = vocoder.tone_bank
    hz = tones.frequencies_hz(heads.frequency_offset)[:, (c.lookahead_frames + WARM_UP_FRAMES) * c.subframes :]
    losses = {
        "spectral": spectral_loss(predicted, target, scale),
        "mel": 0.5 * (log_mel(predicted, fmt) - log_mel(target, fmt)).abs().mean(),
        "power": 0.5 * power_loss(predicted, target, fmt),
        "frequency": 0.2
        * frequency_loss(hz, target, tones.centre_hz, tones.half_width_hz, c.sample_rate_hz, c.sub_hop_samples, 2048 * scale),
    }
    return target, predicted, losses


def _adversarial(
    judges: Discriminators, optimizer: torch.optim.Optimizer, target: Tensor, predicted: Tensor, samples: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """One update of the discriminators on crops of ``samples``, and the generator's losses from them."""
    at = int(rng.integers(0, target.shape[1] - samples))
    real, fake = (x[:JUDGED_CROPS, at : at + samples] for x in (target, predicted))
    with reduced_precision(real.device):
        real_judged = judges(real)
        judge_loss = discriminator_loss(real_judged, judges(fake.detach()))
    optimizer.zero_grad(set_to_none=True)
    judge_loss.backward()
    optimizer.step()
    judges.requires_grad_(False)
    with reduced_precision(real.device):
        with torch.no_grad():
            real_judged = judges(real)
        fooled, matching = adversarial_loss(real_judged, judges(fake))
    judges.requires_grad_(True)
    return {"fooled": 0.1 * fooled, "matching": 1.0 * matching, "judges": judge_loss.detach()}
