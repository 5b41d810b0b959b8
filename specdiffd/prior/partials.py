"""The harmonic series on the mel axis: where a note's partials lie, and the power of each in the mel bins.

Placed analytically, so that pitch is exact at every semitone and bend. `partials_kernels` computes the same for playing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from specdiffd.base.mel_scale import hz_to_mel
from specdiffd.prior.config import PriorConfig

LOBE_STEPS = 4096  # rows of the table of responses: 6 Hz apart at 48 kHz, far less than a bin of the transform; fewer would blur the lobes


def partials_hz(pitch: Tensor, log_inharmonicity: Tensor, harmonics: int) -> Tensor:
    """Frequencies (N, harmonics) in hertz of the partials of notes of ``pitch`` (N,) semitones.

    Stretched as those of a stiff string (Fletcher 1964), whose inharmonicity's natural log is ``log_inharmonicity`` (N,).
    """
    number = torch.arange(1, harmonics + 1, device=pitch.device, dtype=pitch.dtype)
    stretch = torch.sqrt(1 + log_inharmonicity.clamp(-14.0, -3.0).exp()[:, None] * number.square())
    return 440 * torch.exp((pitch[:, None] - 69) * (math.log(2) / 12)) * number * stretch


def partial_responses(hertz: Tensor, lobes: Tensor, sample_rate_hz: int) -> Tensor:
    """Power of the mel bins for each partial at amplitude 1: (N, H, mel) of frequencies (N, H); zero above the format's range.

    Args:
        hertz: of the partials.
        lobes: (steps + 1, mel) of :func:`harmonic_lobes`.
        sample_rate_hz: of the format.
    """
    position = hertz / (sample_rate_hz / 2) * (len(lobes) - 2)
    position = position.clamp(max=len(lobes) - 1.001)
    lower = position.detach().long()
    fraction = (position - lower)[..., None]
    return torch.lerp(lobes[lower], lobes[lower + 1], fraction)


def harmonic_lobes(c: PriorConfig, steps: int = LOBE_STEPS) -> Tensor:
    """Power of each mel bin for a sinusoid of amplitude 1 at ``steps`` frequencies up to Nyquist: (steps + 1, mel).

    The last rows stand for everything above Nyquist and are zero.
    """
    hertz = torch.arange(steps, dtype=torch.float64) / (steps - 1) * (c.sample_rate_hz / 2)
    bins_hz = torch.arange(c.fft_size // 2 + 1, dtype=torch.float64) / c.fft_size * c.sample_rate_hz
    # The Hann window's transform (Harris 1978), as a function of the distance in cycles per window.
    x = (bins_hz - hertz[:, None]) / c.sample_rate_hz * c.window_samples
    lobe = c.window_samples / 4 * (torch.sinc(x) + 0.5 * torch.sinc(x - 1) + 0.5 * torch.sinc(x + 1)).abs()
    power = (lobe @ _triangles(c, bins_hz)).square()
    power[-2:] = 0
    return torch.cat((power, torch.zeros_like(power[:1]))).float()


def _triangles(c: PriorConfig, bins_hz: Tensor) -> Tensor:
    """The mel filters (bins, mel) at the transform's bins (bins,), in double precision; nothing from the DC bin."""
    edges = torch.linspace(hz_to_mel(c.low_hz), hz_to_mel(c.high_hz), c.mel_bins + 2, dtype=torch.float64)
    bins_mel = hz_to_mel(bins_hz)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((bins_mel - low) / (centre - low), (high - bins_mel) / (high - centre)).clamp_min(0)
    triangles[0] = 0
    return triangles
