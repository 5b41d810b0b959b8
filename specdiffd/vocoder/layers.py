"""Layers of the vocoder's networks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.frames import LOG_MEL, PARTIAL_DISTANCE

SOFT_LOG_AMPLITUDE = -6.0  # of an untrained network's tones: loud ones would dominate the loss in the first steps


class LocalNetwork(nn.Module):
    """Amplitude and frequency of one bin's oscillator from the frames around it; the same weights for every bin.

    Finding a peak between bins is the same task in every bin, so it is learned once. A window of 40 ms resolves neither low and close
    notes nor the moment of an onset. The score does, so the network also reads the guide.
    """

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.patch_bins, self.subframes = config.patch_bins, config.subframes
        self.place = nn.Parameter(torch.zeros(config.oscillators, config.local_width))
        self.guided = config.guided
        self.patch = nn.Linear(config.kernel * config.patch_bins, config.local_width)
        self.guide = nn.Linear(3 * config.guide_frames * config.patch_bins, config.local_width, bias=False)
        nn.init.zeros_(self.guide.weight)
        self.neighbours = nn.Linear(3 * config.local_width, config.local_width)
        self.out = nn.Linear(config.local_width, 2 * config.subframes)
        with torch.no_grad():
            self.out.bias[: config.subframes] = SOFT_LOG_AMPLITUDE

    def forward(self, windows: Tensor) -> Tensor:
        """(B, T, oscillators, 4, kernel), scaled, to what ``out`` reads: (B, T, oscillators, local_width)."""
        windows = windows.to(self.patch.weight.dtype)
        x = over_bins(self.patch, windows[..., LOG_MEL, :], self.patch_bins)
        x = x + over_bins(self.guide, windows[..., PARTIAL_DISTANCE:, self.guided].flatten(3), self.patch_bins)
        x = F.gelu(x + self.place.to(x.dtype))
        return F.gelu(over_bins(self.neighbours, x, 3))

    def oscillators(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log amplitude and frequency offset (B, T * subframes, oscillators) from the network's output."""
        x = self.out(x.to(self.out.weight.dtype)).float().unflatten(-1, (2, self.subframes))  # (B, T, oscillators, 2, sub)
        log_amplitude, frequency_offset = x.permute(3, 0, 1, 4, 2).flatten(2, 3).unbind(0)
        return log_amplitude, frequency_offset


class CausalConv(nn.Module):
    """Depthwise convolution over time as shifted products (several times faster than conv1d for these sizes on a CPU)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(kernel, width) / math.sqrt(kernel))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T + kernel - 1, width) to (B, T, width)."""
        kernel = self.weight.shape[0]
        frames = x.shape[1] - kernel + 1
        y = x[:, :frames] * self.weight[0] + self.bias
        for j in range(1, kernel):
            y = y + x[:, j : j + frames] * self.weight[j]
        return y


class ConvNextBlock(nn.Module):
    """Depthwise convolution, norm, two linear layers, residual (arXiv 2201.03545), causal."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = CausalConv(width, kernel)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)
        nn.init.normal_(self.down.weight, std=0.2 / math.sqrt(3 * width))
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        """(B, T, width) with (B, kernel - 1, width) before it."""
        return x + self.down(F.gelu(self.up(self.norm(self.conv(torch.cat((past, x), 1))))))


def over_bins(linear: nn.Linear, x: Tensor, bins: int) -> Tensor:
    """A layer that reads each mel bin with its neighbours, ``bins`` in all: (B, T, mel, n) to (B, T, mel, outputs).

    Its weights are (outputs, n * bins), neighbours innermost; the shifted copies are laid side by side, which is faster.
    """
    side, count = bins // 2, x.shape[2]
    padded = F.pad(x, (0, 0, side, side))
    beside = torch.cat([padded[:, :, k : k + count] for k in range(bins)], -1)
    return F.linear(beside, linear.weight.unflatten(1, (-1, bins)).transpose(1, 2).flatten(1), linear.bias)
