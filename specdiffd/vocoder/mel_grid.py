"""Where the mel bins of a vocoder lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.vocoder.config import VocoderConfig

MEL_BREAK_HZ = 700.0  # of the mel scale, which is the log of 1 + frequency / 700 Hz


class MelGrid(NamedTuple):
    """Mel bins in Hz, in double precision."""

    edges_hz: Tensor  # (mel_bins + 2,) the bins' centres, and the outer feet of the first and the last triangle
    step: float  # between two neighbours, in natural logs of 1 + frequency / MEL_BREAK_HZ

    @property
    def centre_hz(self) -> Tensor:
        """(mel_bins,) where the triangles have their tops."""
        return self.edges_hz[1:-1]

    @property
    def half_width_hz(self) -> Tensor:
        """(mel_bins,) half the width of each triangle."""
        return (self.edges_hz[2:] - self.edges_hz[:-2]) / 2


def mel_grid(config: VocoderConfig) -> MelGrid:
    """The bins of a config's mel format."""
    low, high = (math.log1p(hz / MEL_BREAK_HZ) for hz in (config.low_hz, config.high_hz))
    edges_hz = MEL_BREAK_HZ * torch.expm1(torch.linspace(low, high, config.mel_bins + 2, dtype=torch.float64))
    return MelGrid(edges_hz, (high - low) / (config.mel_bins + 1))
