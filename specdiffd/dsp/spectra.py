"""Short-time spectra of several resolutions, and the distance between them."""

from __future__ import annotations

import torch
from torch import Tensor

# FFT sizes at 16 kHz; hop a quarter. Only the long ones tell noise from a comb of steady oscillators.
RESOLUTIONS = (128, 256, 512, 1024, 2048, 4096, 8192)


def stft(audio: Tensor, size: int) -> Tensor:
    """Complex spectrum (B, frames, bins) under a Hann window, hop a quarter of it, no padding."""
    window = torch.hann_window(size, device=audio.device)
    return torch.fft.rfft(audio.unfold(-1, size, size // 4) * window)


def spectral_loss(predicted: Tensor, target: Tensor, scale: int = 1) -> Tensor:
    """Mean over resolutions of log-magnitude L1 plus spectral convergence (arXiv 1910.11480, equations 2-4).

    Args:
        predicted, target: (B, samples).
        scale: factor on the FFT sizes (3 at 48 kHz).
    """
    total = predicted.new_zeros(())
    for size in RESOLUTIONS:
        size = size * scale
        p, t = stft(predicted, size).abs(), stft(target, size).abs()
        floor = 1e-5 * size / 4  # 100 dB below a full-scale sinusoid
        log_distance = (torch.log(p + floor) - torch.log(t + floor)).abs().mean()
        convergence = torch.linalg.vector_norm(p - t, dim=(1, 2)) / (torch.linalg.vector_norm(t, dim=(1, 2)) + floor * 10)
        total = total + log_distance + 0.5 * convergence.mean()
    return total / len(RESOLUTIONS)
