"""Trains the note prior: the mean log mel of each note, and its roughness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from specdiffd.base.formats import MelFormat
from specdiffd.instruments.layout import PRIOR
from specdiffd.prior.config import PriorConfig
from specdiffd.prior.mixing import Contributions, log_mel_of, mean_roughness, summed
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import NoteFeatures
from specdiffd.reference.parts import Rng
from specdiffd.train.data import PieceBank, draw_excerpt, piece_mel
from specdiffd.train.loop import Run, begin, descend, reduced_precision
from specdiffd.train.mel_losses import audibility, audible_l1, steady, unlikelihood

ROUGHNESS_SHARE = 0.1  # of the loss
LEARNING_RATE = 2e-3  # at its highest
SOLOS = 5  # excerpts of single notes for each one of music
FRAMES, LEAD_FRAMES = 96, 4  # of an excerpt


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
        solos: pieces of single notes. They teach most for their cost, since few notes sound at a time and none hides another.
        start: a checkpoint whose weights a new run begins with.
        batch: excerpts of ``bank`` in a step; there are ``SOLOS`` times as many of ``solos``.
    """
    torch.manual_seed(0)
    prior = begin(NotePrior(config), start and start / PRIOR).to(device)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    run = Run(out, prior, {"optimizer": optimizer}, minutes, asdict(config))
    rng = np.random.default_rng(run.step + 1)
    for _ in run:
        windows, target = _draw_batch({bank: batch, solos: batch * SOLOS}, fmt, config, rng, device)
        with reduced_precision(device):
            predicted, roughness = rough_batch(prior, windows)
        loss, losses = _loss(predicted, roughness, target)
        descend(optimizer, loss, 1.0)
        run.note(losses)


def _draw_batch(
    counts: dict[PieceBank, int], fmt: MelFormat, config: PriorConfig, rng: Rng, device: str
) -> tuple[list[NoteFeatures], Tensor]:
    """The given numbers of excerpts of the banks: their features, and their log mel (B, F, mel)."""
    excerpts = [draw_excerpt(bank, fmt, config, FRAMES, LEAD_FRAMES, rng) for bank, count in counts.items() for _ in range(count)]
    target = torch.stack([piece_mel(e.piece, fmt, e.first_frame, FRAMES) for e in excerpts]).to(device)
    return [e.features.to(device) for e in excerpts], target


def _loss(predicted: Tensor, roughness: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The loss of a log mel (B, F, mel) and its roughness, and its parts for the log."""
    error = (target - predicted).detach()
    audible = audibility(torch.maximum(predicted.detach(), target))[:, 1:]
    unlikely = (unlikelihood(error, roughness) * audible * steady(predicted)).mean()
    loss = audible_l1(predicted, target)
    losses = {"loss": float(loss.detach()), "l1": float(error.abs().mean()), "unlikely": float(unlikely.detach())}
    return loss + ROUGHNESS_SHARE * unlikely, losses


def prior_batch(prior: NotePrior, windows: Sequence[NoteFeatures]) -> Tensor:
    """Log mel (B, F, mel) of several windows in one pass."""
    _, total = _contributions(prior, windows)
    return log_mel_of(total, prior.config.log_floor).unflatten(0, (len(windows), -1))


def rough_batch(prior: NotePrior, windows: Sequence[NoteFeatures]) -> tuple[Tensor, Tensor]:
    """Log mel and roughness, (B, F, mel) each, of several windows in one pass. The roughness has no gradient to the mean."""
    (notes, total), floor = _contributions(prior, windows), prior.config.log_floor
    roughness = mean_roughness(notes.power.detach(), notes.rough_power, notes.frame, prior.beats, total.detach(), floor)
    parts = (len(windows), -1)
    return log_mel_of(total, floor).unflatten(0, parts), roughness.unflatten(0, parts)


def _contributions(prior: NotePrior, windows: Sequence[NoteFeatures]) -> tuple[Contributions, Tensor]:
    """The notes of several windows in one pass, and the power (B * F, mel) of each frame; the windows' frames follow each other."""
    rows = NoteFeatures(*(torch.cat(columns) for columns in zip(*windows, strict=True)))
    notes, frames = prior.contributions(rows), windows[0].active.shape[1]
    window = torch.repeat_interleave(torch.tensor([len(w.key) for w in windows], device=notes.note.device))
    notes = notes._replace(frame=window[notes.note] * frames + notes.frame)
    return notes, summed(notes.power, notes.frame, len(windows) * frames)
