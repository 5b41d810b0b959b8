"""Losses of the vocoder: multi-resolution spectra, instantaneous frequency, adversarial."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.base.formats import MelFormat
from specdiffd.dsp.mel import mel_filters
from specdiffd.dsp.spectra import stft

PATCH, PATCH_STEP = (8, 8), (4, 4)  # frames, mel bins


def power_loss(predicted: Tensor, target: Tensor, fmt: MelFormat) -> Tensor:
    """Mean distance in nepers of the power of patches of :data:`PATCH` frames and mel bins, which overlap by half.

    A loss of single bins makes noise too soft: the magnitudes of two noises differ bin by bin, and the best fit in the mean square is 2 dB
    too soft. A noise with the mean magnitude of close partials is softer still. The power of a patch has no such error.

    Args:
        predicted, target: (B, samples).
    """
    bands = mel_filters(fmt).to(target)
    p, t = (F.avg_pool2d((stft(x, fmt.fft_size).abs().square() @ bands)[:, None], PATCH, PATCH_STEP) for x in (predicted, target))
    floor = 1e-12 * (fmt.fft_size / 4) ** 2  # 120 dB below a full-scale sinusoid: soft strings lie below 90 dB everywhere above 8 kHz
    return 0.5 * (torch.log(p + floor) - torch.log(t + floor)).abs().mean()


def frequency_loss(
    frequencies_hz: Tensor, target: Tensor, centre_hz: Tensor, spread_hz: Tensor, rate_hz: int, hop: int, size: int
) -> Tensor:
    """Mean distance of oscillators from the instantaneous frequency of the target (phase advance over one sample, Flanagan 1966).

    In units of ``spread_hz``, weighted by the root of the target's magnitude.

    Args:
        frequencies_hz: (B, M, K), one row per subframe of ``hop`` samples, one column per oscillator.
        target: (B, M * hop) audio.
        centre_hz: (K,) of each oscillator.
        spread_hz: (K,) frequencies of the target that are farther than this from the centre do not count.
        size: of the transform, in samples.
    """
    padded = F.pad(target, (size // 2, size // 2))
    window = torch.hann_window(size, device=target.device)
    rows = padded.unfold(-1, size + 1, hop)[:, : frequencies_hz.shape[1]]
    now, later = torch.fft.rfft(rows[..., :-1] * window), torch.fft.rfft(rows[..., 1:] * window)
    nearest = torch.round(centre_hz / rate_hz * size).long()
    now, later = now[..., nearest], later[..., nearest]
    target_hz = torch.angle(later * now.conj()) * rate_hz / (2 * math.pi)
    near = (target_hz - centre_hz).abs() < spread_hz
    weight = now.abs().clamp_min(1e-6).sqrt() * near
    distance = (frequencies_hz[:, : target_hz.shape[1]] - target_hz).abs() / spread_hz
    return (distance.clamp_max(2.0) * weight).sum() / weight.sum().clamp_min(1e-6)


class SpectralDiscriminator(nn.Module):
    """Judges the complex spectrogram at one resolution with strided 2-D convolutions (as in Encodec, arXiv 2210.13438)."""

    WIDTH = 24  # channels

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        norm = torch.nn.utils.parametrizations.weight_norm
        channels = [3, *[self.WIDTH] * 4]
        self.layers = nn.ModuleList(
            norm(nn.Conv2d(a, b, (3, 8), stride=(1, 2 if k else 1), padding=(1, 3)))
            for k, (a, b) in enumerate(itertools.pairwise(channels))
        )
        self.last = norm(nn.Conv2d(self.WIDTH, 1, (3, 3), padding=1))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, samples) to logits and the activations of every layer."""
        spectrum = stft(audio, self.size)
        magnitude = spectrum.abs() + 1e-4 * self.size / 4
        unit = spectrum / magnitude
        x = torch.stack((torch.log(magnitude) / 3 - math.log(self.size / 64) / 3, unit.real, unit.imag), 1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.last(x), features


class Discriminators(nn.Module):
    """One discriminator for each resolution; ``scale`` as in :func:`spectral_loss`."""

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        self.each = nn.ModuleList(SpectralDiscriminator(size * scale) for size in (256, 512, 1024))

    def forward(self, audio: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        """Audio (B, samples) to the logits and activations of each discriminator."""
        return [d(audio) for d in self.each]


def discriminator_loss(real: list[tuple[Tensor, list[Tensor]]], fake: list[tuple[Tensor, list[Tensor]]]) -> Tensor:
    """Hinge loss (arXiv 1705.02894)."""
    return torch.stack([F.relu(1 - r).mean() + F.relu(1 + f).mean() for (r, _), (f, _) in zip(real, fake, strict=True)]).mean()


def adversarial_loss(real: list[tuple[Tensor, list[Tensor]]], fake: list[tuple[Tensor, list[Tensor]]]) -> tuple[Tensor, Tensor]:
    """The generator's hinge loss, and feature matching relative to the real activations (arXiv 1910.06711)."""
    fooled = torch.stack([F.relu(1 - f).mean() for f, _ in fake]).mean()
    matching = torch.stack(
        [
            (a.detach() - b).abs().mean() / (a.detach().abs().mean() + 1e-6)
            for (_, r), (_, f) in zip(real, fake, strict=True)
            for a, b in zip(r, f, strict=True)
        ]
    ).mean()
    return fooled, matching
