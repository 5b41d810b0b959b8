"""Sizes of the built-in vocoder."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class VocoderConfig:
    """Sizes of the generator. Mel format first, then the networks."""

    sample_rate_hz: int = 16000
    hop_samples: int = 320
    mel_bins: int = 128
    low_hz: float = 0.0
    high_hz: float = 8000.0
    local_width: int = 64
    patch_bins: int = 7  # mel bins that the local network reads, centred on its bin
    guide_frames: int = 3  # frames whose guide the networks read
    width: int = 256
    blocks: int = 5
    sub_width: int = 128
    sub_blocks: int = 2
    kernel: int = 7  # frames or subframes that a convolution reads
    lookahead_frames: int = 2  # of the networks
    subframes: int = 4  # per frame
    history_frames: int = 64  # how far the stream can go back
    log_floor: float = math.log(1e-5)  # of the mel format
    oscillators: int = 128  # for the lowest mel bins; the bins above them have noise only
    gates: int = 4  # points per subframe of a noise piece's envelope
    mel_fft_size: int = 1024  # of the mel format

    @property
    def sub_hop_samples(self) -> int:
        """Samples per subframe."""
        return self.hop_samples // self.subframes

    @property
    def guided(self) -> slice:
        """The frames of a kernel whose guide is read: those around the current hop."""
        middle = self.kernel - 1 - self.lookahead_frames
        return slice(middle - self.guide_frames // 2, middle + self.guide_frames // 2 + 1)

    @property
    def fft_size(self) -> int:
        """Samples of a noise piece: four subframes."""
        return 4 * self.sub_hop_samples

    @property
    def noise_bins(self) -> int:
        """Bins of a noise piece's spectrum."""
        return self.fft_size // 2 + 1

    @property
    def envelope_points(self) -> int:
        """Points of a noise piece's envelope."""
        return self.gates * (self.fft_size // self.sub_hop_samples)
