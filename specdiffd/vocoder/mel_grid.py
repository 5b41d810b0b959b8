"""Frequencies of a vocoder's mel bins."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.base.mel_scale import hz_to_log, log_to_hz
from specdiffd.vocoder.config import VocoderConfig


class MelGrid(NamedTuple):
    """Mel bins in Hz, in double precision."""

    edges_hz: Tensor  # (mel_bins + 2,) the bins' centres, and the outer feet of the first and the last triangle
    step: float  # between two neighbours, on the mel scale, in natural logs

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
    low, high = hz_to_log(config.low_hz), hz_to_log(config.high_hz)
    edges_hz = log_to_hz(torch.linspace(low, high, config.mel_bins + 2, dtype=torch.float64))
    return MelGrid(edges_hz, (high - low) / (config.mel_bins + 1))
