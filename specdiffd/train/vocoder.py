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

from specdiffd.base.formats import MelFormat
from specdiffd.dsp.mel import log_mel
from specdiffd.dsp.spectra import spectral_loss
from specdiffd.instruments.layout import VOCODER
from specdiffd.prior.playing import PlayedPrior
from specdiffd.train.crops import draw_crops
from specdiffd.train.data import PieceBank
from specdiffd.train.loop import Run, begin, descend, reduced_precision
from specdiffd.train.losses import Discriminators, adversarial_loss, discriminator_loss, frequency_loss, power_loss
from specdiffd.vocoder import oscillators
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.streaming import Vocoder

log = logging.getLogger(__name__)
WARM_UP_FRAMES = 6  # have no loss: a crop begins in the middle of the music, but with an empty state
FRAMES = 72  # of a crop
JUDGED_CROPS, JUDGED_S = 2, 0.512  # of a batch, what the discriminators get: with more they would cost most of a step
LEARNING_RATE = 5e-4  # at its highest
BASE_RATE_HZ = 16000  # the sample rate that the sizes of the losses are given for


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
        prior: makes the guides.
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
    with compiled_oscillators(device):
        for _ in run:
            target, predicted, losses = _reconstruct(vocoder, *draw_crops(bank, prior, fmt, rng, batch, FRAMES, device), fmt, scale)
            if run.progress >= adversarial_from:
                losses |= _adversarial(judges, judge_optimizer, target, predicted, round(JUDGED_S * fmt.sample_rate_hz), rng)
            loss = torch.stack(list(losses.values())).sum()
            descend(optimizer, loss, 5.0)
            run.note({name: float(value.detach()) for name, value in losses.items()})


@contextmanager
def compiled_oscillators(device: str) -> Iterator[None]:
    """A context in which the oscillators are compiled: training spends most of its time in them, and compiled they take a third of it."""
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


def _reconstruct(
    vocoder: Vocoder, audio: Tensor, mel: Tensor, guides: Tensor, fmt: MelFormat, scale: int
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Synthesis of a batch from ``mel``: target and prediction (B, samples) behind the warm-up, and the losses."""
    c = vocoder.config
    state = vocoder.init_state(len(audio))
    with reduced_precision(audio.device):
        heads, after = vocoder.analyse(mel, state, guides)
    stream, _ = vocoder.synthesise(heads, after, state)
    delay, skip = c.lookahead_frames * c.hop_samples, WARM_UP_FRAMES * c.hop_samples
    predicted = stream[:, delay + skip :]
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
