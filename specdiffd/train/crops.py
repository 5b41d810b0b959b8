"""What the vocoder learns from: short stretches of audio with their mel and guide."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.base.formats import NO_GUIDE, MelFormat
from specdiffd.dsp.mel import log_mel
from specdiffd.prior.note_features import NoteFeatures, note_features
from specdiffd.prior.playing import PlayedPrior
from specdiffd.reference.parts import Rng
from specdiffd.train.data import PieceBank

# A mel that was predicted and not measured is a few milliseconds wrong about onsets; the guide is not. So the mel of guided crops is up to
# this much early or late, and the vocoder learns to take onsets from the guide.
ASTRAY_S = 0.004
PRIOR_MEL_SHARE = 0.4  # of the guided crops have the prior's mel, since the vocoder is given such mels when it plays
UNGUIDED_SHARE = 1 / 3
MOST_ROWS = 400  # of features; denser crops have no guide, since it takes too long to make
SILENT, SILENT_SHARE = 1e-3, 0.02  # amplitude below which a crop is silent, and how many of those are kept


class Crop(NamedTuple):
    """Audio with one more hop than mel and guide have frames."""

    audio: Tensor  # (samples,)
    mel: Tensor  # (frames, mel) natural log
    guide: Tensor  # (frames, mel, 5)


@torch.no_grad()
def draw_crops(
    bank: PieceBank, prior: PlayedPrior, fmt: MelFormat, rng: Rng, batch: int, frames: int, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Random crops of ``frames`` + 1 hops, few of them silent: audio (B, samples), mel (B, frames, mel), guides (B, frames, mel, 5)."""
    drawn = [_draw_crop(bank, prior, fmt, rng, frames, device) for _ in range(batch)]
    audio, mels, guides = (torch.stack(parts) for parts in zip(*drawn, strict=True))
    return audio.to(device), mels, guides


def _draw_crop(bank: PieceBank, prior: PlayedPrior, fmt: MelFormat, rng: Rng, frames: int, device: str) -> Crop:
    """One crop. Its mel is the prior's, or the audio's own, a little early or late."""
    around, features = _draw_audio(bank, prior, fmt, rng, frames)
    audio = around[fmt.hop_samples : -fmt.hop_samples]
    guided = rng.random() > UNGUIDED_SHARE and len(features.key) < MOST_ROWS
    played = prior(features) if guided else None
    none = torch.tensor(NO_GUIDE, device=device).expand(frames, fmt.mel_bins, len(NO_GUIDE))
    guide = none if played is None else played.guide.to(device)
    if played is not None and rng.random() < PRIOR_MEL_SHARE:
        return Crop(audio, played.mel.to(device), guide)
    most = round(ASTRAY_S * fmt.sample_rate_hz) if guided else 0
    first = fmt.hop_samples + int(rng.integers(-most, most + 1))
    return Crop(audio, log_mel(around[first : first + len(audio)].to(device), fmt)[:-1], guide)


def _draw_audio(bank: PieceBank, prior: PlayedPrior, fmt: MelFormat, rng: Rng, frames: int) -> tuple[Tensor, NoteFeatures]:
    """Audio of a crop with one hop more on either side, and what the prior reads of its frames."""
    hop = fmt.hop_samples
    while True:
        piece = bank.draw(rng)
        start = int(rng.integers(1, len(piece.audio) // hop - frames - 2))
        around = torch.from_numpy(piece.audio[(start - 1) * hop : (start + frames + 2) * hop])
        if around[hop:-hop].abs().max() >= SILENT or rng.random() <= SILENT_SHARE:
            features = note_features(piece.performance, fmt.starts_s(start, frames), prior.config.window_s, prior.config.ring_s)
            return around, features
