"""Trains encoders and decoder upon a finished note prior, and once more on their results so that few steps are enough (reflow)."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from specdiffd.base.formats import MelFormat
from specdiffd.diffusion.config import DecoderConfig, EncoderConfig
from specdiffd.prior.network import NotePrior
from specdiffd.tokens.codec import Codec
from specdiffd.train.data import PieceBank
from specdiffd.train.examples import window_example
from specdiffd.train.flow import FlowModel, Teacher
from specdiffd.train.loop import Run, begin, descend

LEARNING_RATE = 5e-4  # at its highest


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
    """Train encoders and decoder causally, as they will run: all frames of a window at one time of the flow.

    Args:
        start: a checkpoint whose weights a new run begins with.
        reflow_steps: learn from what ``start`` makes of noise in so many steps, instead of from the music (reflow, arXiv
            2209.03003, section 2.2). The path from a noise to its spectrogram becomes straight, so that few steps do as well.
    """
    torch.manual_seed(0)
    model = FlowModel(encoder, decoder)
    for name, part in model.named_children():
        begin(part, start and start / name)
    model.to(device)
    teacher = None if reflow_steps is None else Teacher(copy.deepcopy(model).eval().requires_grad_(False), reflow_steps)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01
    )
    config = {"encoder": asdict(encoder), "decoder": asdict(decoder), "codec": asdict(codec)}
    run = Run(out, model, {"optimizer": optimizer}, minutes, config)
    rng = np.random.default_rng(run.step + 1)
    prior = prior.to(device)
    for _ in run:
        examples = [window_example(bank, fmt, codec, prior.config, decoder.targets_length, rng) for _ in range(batch)]
        loss, measures = model.loss(examples, prior, fmt, rng, device, teacher)
        descend(optimizer, loss, 1.0)
        run.note(measures)
