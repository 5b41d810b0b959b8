"""The noise, in torch to train. `noise_kernels` has the compiled form, to play.

Noise is complex Gaussian and a function of the absolute frame, so equal mels give equal sound. It is made of overlapping pieces. Each piece
has an envelope, so that an attack is not smeared over the piece.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.heads import Heads
from specdiffd.vocoder.limits import MARGIN_NEPERS, audibility, log_level_limit
from specdiffd.vocoder.mel_grid import mel_grid
from specdiffd.vocoder.noise_kernels import (
    LEAST_LOG_ENVELOPE,
    LEAST_LOG_NOISE,
    MOST_LOG_ENVELOPE,
    MOST_LOG_NOISE,
    NoiseConstants,
    overlap_add,
    shape_spectra,
)
from specdiffd.vocoder.onset_gate import attack_samples, hop_gain
from specdiffd.vocoder.state import VocoderState

NOISE_PERIOD_FRAMES = 512  # ten seconds: a much shorter period would be heard as a rhythm
NOISE_GAIN = 0.45  # measured: mel of noise of level 1, per root of the window's samples and per bin of the triangle's width
OVERLAP = 4  # pieces that overlap at each sample


class Noise(NamedTuple):
    """Noise, and after each frame the addition of its pieces to later samples."""

    audio: Tensor  # (B, samples)
    tails: Tensor  # (B, T, fft_size - sub_hop)


class NoiseSource(nn.Module):
    """Makes noise from heads. Buffers only: all follows from the config."""

    noise: Tensor
    nearest_mel_bin: Tensor
    log_gain: Tensor
    window: Tensor
    tents: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = c = config
        generator = torch.Generator().manual_seed(0)
        shape = (NOISE_PERIOD_FRAMES, c.subframes, c.noise_bins, 2)
        nearest_mel_bin, log_gain = _noise_gains(c)
        self.register_buffer("noise", torch.randn(shape, generator=generator), persistent=False)
        self.register_buffer("nearest_mel_bin", nearest_mel_bin, persistent=False)  # (noise_bins,)
        self.register_buffer("log_gain", log_gain, persistent=False)  # (noise_bins,) log mel of noise of level 1
        self.register_buffer("window", torch.hann_window(c.fft_size) / 2, persistent=False)  # four of them overlap to 1
        self.register_buffer("tents", _tents(c), persistent=False)
        point = (self.tents > 0).int().argmax(0)  # the first of the two that a sample lies between
        self._constants = NoiseConstants(
            noise=self.noise.numpy(),
            nearest_mel_bin=nearest_mel_bin.numpy(),
            log_gain=log_gain.numpy(),
            window=self.window.numpy(),
            envelope_point=point.numpy(),
            envelope_fraction=(1 - self.tents.gather(0, point[None])[0]).numpy(),
            spectrum_scale=np.float32(math.sqrt(c.fft_size)),
            sub_hop_samples=c.sub_hop_samples,
            log_floor=np.float32(c.log_floor),
            margin_nepers=np.float32(MARGIN_NEPERS),
            attack_samples=np.float32(attack_samples(c)),
        )

    def synthesise(self, heads: Heads, state: VocoderState) -> Noise:
        """Noise, gated at onsets; differentiable, on any device."""
        c = self.config
        batch, rows = heads.log_noise.shape[:2]
        pieces = torch.fft.irfft(self._spectra(heads, state) * math.sqrt(c.fft_size), c.fft_size) * self.window  # (B, M, fft_size)
        pieces = pieces * (heads.log_envelope.clamp(float(LEAST_LOG_ENVELOPE), float(MOST_LOG_ENVELOPE)).exp() @ self.tents)
        sub_hop = c.sub_hop_samples
        overlap = pieces.new_zeros(batch, (rows + OVERLAP - 1), sub_hop)
        for j, part in enumerate(pieces.unflatten(-1, (OVERLAP, sub_hop)).unbind(2)):
            overlap = overlap + F.pad(part, (0, 0, j, OVERLAP - 1 - j))
        tail_before = state.noise_tail[:, -1].unflatten(-1, (OVERLAP - 1, sub_hop))
        overlap = overlap + F.pad(tail_before, (0, 0, 0, rows))
        return Noise(overlap[:, :rows].flatten(1) * hop_gain(heads.onsets, c), self._tails(pieces))

    def play(self, heads: Heads, state: VocoderState) -> Noise:
        """The same as :meth:`synthesise` by compiled loops, without gradients, on the CPU."""
        c, (batch, rows, _) = self.config, heads.log_noise.shape
        log_noise, log_envelope, onsets, ceiling = (
            x.contiguous().numpy() for x in (heads.log_noise, heads.log_envelope, heads.onsets, heads.log_mel_ceiling)
        )
        spectra = torch.empty(*heads.log_noise.shape, 2)
        shape_spectra(self._constants, log_noise, ceiling, state.frame, spectra.numpy())
        pieces = torch.fft.irfft(torch.view_as_complex(spectra), c.fft_size)
        audio = torch.empty(batch, rows * c.sub_hop_samples)
        tails = torch.empty(batch, rows // c.subframes, c.fft_size - c.sub_hop_samples)
        tail_before = state.noise_tail[:, -1].contiguous().numpy()
        overlap_add(self._constants, pieces.numpy(), log_envelope, onsets, tail_before, audio.numpy(), tails.numpy())
        return Noise(audio, tails)

    def _spectra(self, heads: Heads, state: VocoderState) -> Tensor:
        """Complex Gaussian noise (B, M, noise_bins) with the heads' levels, limited by the mel."""
        c, device = self.config, heads.log_noise.device
        frames = torch.arange(state.frame, state.frame + heads.log_noise.shape[1] // c.subframes, device=device) % NOISE_PERIOD_FRAMES
        noise = torch.view_as_complex(self.noise[frames].flatten(0, 1))  # (M, noise_bins)
        ceiling = heads.log_mel_ceiling[..., self.nearest_mel_bin].repeat_interleave(c.subframes, 1)
        log_level = heads.log_noise.clamp(float(LEAST_LOG_NOISE), float(MOST_LOG_NOISE))
        level = torch.minimum(log_level, log_level_limit(ceiling, self.log_gain)).exp()
        return level * audibility(ceiling, c.log_floor) * noise

    def _tails(self, pieces: Tensor) -> Tensor:
        """After each frame, the addition of its last pieces to the samples that follow: (B, T, fft_size - sub_hop)."""
        last = pieces.unflatten(1, (-1, self.config.subframes))[:, :, 1 - OVERLAP :]
        first, second, third = last.unflatten(-1, (OVERLAP, self.config.sub_hop_samples)).unbind(2)  # (B, T, 4, sub_hop) each
        empty = torch.zeros_like(first[:, :, :1])
        tail = third[:, :, 1:] + torch.cat((second[:, :, 2:], empty), 2) + torch.cat((first[:, :, 3:], empty, empty), 2)
        return tail.flatten(2)


def _noise_gains(config: VocoderConfig) -> tuple[Tensor, Tensor]:
    """For each bin of a piece's spectrum the nearest mel bin, and the log mel of noise of level 1 there: (noise_bins,) each.

    A mel bin sums the noise of all bins of the mel's transform that its triangle covers.
    """
    c, grid = config, mel_grid(config)
    bin_hz = torch.arange(c.noise_bins) * c.sample_rate_hz / c.fft_size
    nearest = (bin_hz[:, None] - grid.centre_hz.float()).abs().argmin(1)
    width_bins = (grid.half_width_hz / (c.sample_rate_hz / c.mel_fft_size)).clamp_min(1.0).float()
    return nearest, torch.log(NOISE_GAIN * math.sqrt(2 * c.hop_samples) * width_bins[nearest])


def _tents(config: VocoderConfig) -> Tensor:
    """Weights (envelope_points, fft_size) of linear interpolation between an envelope's points."""
    points = config.envelope_points
    places = (torch.arange(config.fft_size) + 0.5) / config.fft_size * points - 0.5
    return (1 - (places.clamp(0, points - 1) - torch.arange(points)[:, None]).abs()).clamp_min(0)
