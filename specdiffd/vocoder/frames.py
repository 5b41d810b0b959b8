"""The vocoder's input: for each frame and mel bin the log mel, and a guide from the score."""

from __future__ import annotations

import torch
from torch import Tensor

from specdiffd.base.formats import NO_GUIDE
from specdiffd.vocoder.config import VocoderConfig

# Fields of a frame, in the order of the last dimension. The guide begins at PARTIAL_DISTANCE: see specdiffd.prior.playing.PlayedPrior.
LOG_MEL = 0  # natural log
PARTIAL_DISTANCE = 1  # from the bin's centre to the strongest partial near it, in bins
PARTIAL_LOG_AMPLITUDE = 2  # of that partial, natural log
ELAPSED_SHARE = 3  # share of the frame's window that lies after the notes' onsets
ONSET_SHARE = 4  # share of the bin's power that belongs to notes beginning within the frame's window
ONSET_PLACE = 5  # where in the window the strongest of those notes begins, 0 to 1
FRAME_FIELDS = 1 + len(NO_GUIDE)
READ = ONSET_SHARE  # the networks read the first four fields: checkpoints have weights for these


def silent_frames(config: VocoderConfig, batch: int, frames: int, device: torch.device) -> Tensor:
    """Frames of silence without a guide: (B, T, mel_bins, FRAME_FIELDS)."""
    silence = torch.empty(batch, frames, config.mel_bins, FRAME_FIELDS, device=device)
    silence[..., LOG_MEL] = config.log_floor
    silence[..., PARTIAL_DISTANCE:] = torch.tensor(NO_GUIDE, device=device)
    return silence


def guided_frames(config: VocoderConfig, mel: Tensor, guide: Tensor | None) -> Tensor:
    """Frames (B, T, mel_bins, FRAME_FIELDS) of a natural-log mel (B, T, mel_bins) and its guide (B, T, mel_bins, 5), if there is one."""
    frames = silent_frames(config, mel.shape[0], mel.shape[1], mel.device)
    frames[..., LOG_MEL] = mel
    if guide is not None:
        frames[..., PARTIAL_DISTANCE:] = guide
    return frames
