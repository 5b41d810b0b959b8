"""Trains the spectrogram model: the note prior, then the decoder upon it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from specdiffd.audio.mel import MelFormat, log_mel
from specdiffd.model.note_features import NoteFeatures, note_features
from specdiffd.model.prior import NotePrior, PriorConfig, combine
from specdiffd.train.data import Piece, PieceBank
from specdiffd.train.loop import Run

log = logging.getLogger(__name__)


def mel_target(piece: Piece, fmt: MelFormat, start: int, frames: int) -> Tensor:
    """Log mel (frames, mel_bins) of a piece's audio from frame ``start`` on; silence around the piece."""
    hop = fmt.hop_samples
    first, last = start * hop, (start + frames - 1) * hop + fmt.window_samples
    audio = np.zeros(last - first, np.float32)
    inside = piece.audio[max(0, first) : max(0, last)].astype(np.float32)
    audio[max(0, -first) : max(0, -first) + len(inside)] = inside
    return log_mel(torch.from_numpy(audio), fmt)[:frames]


def frame_times_s(fmt: MelFormat, start: int, frames: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Times of the first samples of frames ``start`` and on."""
    return (start + np.arange(frames)) * fmt.frame_s


def concatenate(windows: Sequence[NoteFeatures]) -> NoteFeatures:
    """Rows of several windows behind each other."""
    return NoteFeatures(*(torch.cat(columns) for columns in zip(*windows, strict=True)))


def prior_batch(prior: NotePrior, windows: Sequence[NoteFeatures]) -> Tensor:
    """Log mel (B, F, mel_bins) of several windows in one pass."""
    sizes = [len(w.key) for w in windows]
    weights, shapes = prior.contributions(concatenate(windows))
    return torch.stack([combine(w, s, prior.config.log_floor) for w, s in zip(weights.split(sizes), shapes.split(sizes), strict=True)])


def audible_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference in nepers; bins more than 50 dB below a usual note count a quarter."""
    weight = 0.25 + 0.75 * torch.sigmoid(torch.maximum(predicted.detach(), target) + 6.0)
    return ((predicted - target).abs() * weight).mean()


def train_prior(out: Path, bank: PieceBank, fmt: MelFormat, config: PriorConfig, *, minutes: float, batch: int, device: str, learning_rate: float = 2e-3) -> None:
    """Train the note prior alone until ``minutes`` are used, resuming from ``out`` if it holds a run."""
    torch.manual_seed(0)
    prior = NotePrior(config).to(device)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    run = Run(out, prior, {"optimizer": optimizer}, minutes, asdict(config))
    rng = np.random.default_rng(run.step + 1)
    frames = 96
    for _ in run:
        optimizer.param_groups[0]["lr"] = learning_rate * run.decay
        bank.check()
        targets, windows = [], []
        while len(windows) < batch:
            piece = bank.pieces[int(rng.integers(len(bank.pieces)))]
            start = int(rng.integers(-4, len(piece.audio) // fmt.hop_samples - frames))
            features = note_features(piece.performance, frame_times_s(fmt, start, frames), config.window_s, config.ring_s)
            if 0 < len(features.key) < 600:
                windows.append(features.to(device))
                targets.append(mel_target(piece, fmt, start, frames))
        with torch.autocast(device, torch.bfloat16):
            predicted = prior_batch(prior, windows)
        target = torch.stack(targets).to(device)
        loss = audible_l1(predicted, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        run.note({"loss": float(loss.detach()), "l1": float((predicted.detach() - target).abs().mean())})
