"""The log-mel front end of Spectrogram Diffusion.

Published format (arXiv 2206.05408, section 3.1, and the released code): 16 kHz, hop 320, Hann window 640 zero-padded to
an FFT of 1024, 128 HTK mels over 0-8000 Hz with TensorFlow's filter shapes, magnitude, natural log. Frames are not
centred: frame i covers samples [hop * i, hop * i + window).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specdiffd.base.formats import MelFormat
from specdiffd.base.mel_scale import hz_to_mel, mel_to_hz


@lru_cache
def centres_hz(fmt: MelFormat) -> NDArray[np.float64]:
    """Frequencies (mel_bins,) of the peaks of the bins' triangles, in hertz."""
    return mel_to_hz(_edges_mel(fmt))[1:-1]


def _edges_mel(fmt: MelFormat) -> NDArray[np.float64]:
    """Corners (mel_bins + 2,) of the triangles, in mels: triangle i rises from corner i to its peak at i + 1 and falls to i + 2."""
    return np.linspace(hz_to_mel(fmt.low_hz), hz_to_mel(fmt.high_hz), fmt.mel_bins + 2)


@lru_cache
def mel_filters(fmt: MelFormat) -> Tensor:
    """Filter bank (fft_size / 2 + 1, mel_bins): triangles in mel, height 1, nothing from the DC bin.

    As TensorFlow's ``tf.signal.linear_to_mel_weight_matrix`` computes it.
    """
    bins_mel = hz_to_mel(np.linspace(0.0, fmt.sample_rate_hz / 2, fmt.fft_size // 2 + 1))[1:, None]
    edges = _edges_mel(fmt)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.maximum(0.0, np.minimum((bins_mel - low) / (centre - low), (high - bins_mel) / (high - centre)))
    return torch.from_numpy(np.pad(triangles, ((1, 0), (0, 0))).astype(np.float32))


def log_mel(audio: Tensor, fmt: MelFormat) -> Tensor:
    """Natural-log mel spectrogram.

    Args:
        audio: (..., samples) at ``fmt.sample_rate_hz``; padded with zeros at the end.
        fmt: the format.

    Returns:
        (..., samples // hop, mel_bins), at least ``log(fmt.floor)``.
    """
    frames = audio.shape[-1] // fmt.hop_samples
    padding = (frames - 1) * fmt.hop_samples + fmt.window_samples - audio.shape[-1]
    padded = torch.nn.functional.pad(audio, (0, max(0, padding)))
    windows = padded.unfold(-1, fmt.window_samples, fmt.hop_samples)[..., :frames, :]
    hann = torch.hann_window(fmt.window_samples, dtype=audio.dtype, device=audio.device)
    magnitude = torch.fft.rfft(windows * hann, fmt.fft_size).abs()
    return torch.log((magnitude @ mel_filters(fmt).to(magnitude)).clamp(fmt.floor, 1e8))
