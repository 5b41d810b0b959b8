"""The audio format of an instrument, as a value. No other module knows 16000 or 320."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MelFormat:
    """Everything that fixes a log-mel spectrogram. The defaults are the published format."""

    sample_rate_hz: int = 16000
    hop_samples: int = 320
    window_samples: int = 640
    fft_size: int = 1024
    mel_bins: int = 128
    low_hz: float = 0.0
    high_hz: float = 8000.0
    floor: float = 1e-5  # magnitudes below it are cut off
    log_ceiling: float = 4.0  # natural log that the model's range ends at

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_samples / self.sample_rate_hz

    def first_frame_of(self, time_s: float) -> int:
        """The first frame whose window reaches beyond ``time_s``: the first that can show what begins there."""
        return math.floor((time_s * self.sample_rate_hz - self.window_samples) / self.hop_samples + 1e-6) + 1

    @property
    def log_floor(self) -> float:
        """Natural log of a silent bin."""
        return math.log(self.floor)

    def scale(self, log_mel: Tensor) -> Tensor:
        """Natural log mel to the model's range [-1, 1], clipped."""
        return self.scale_unclipped(log_mel).clamp(-1.0, 1.0)

    def scale_unclipped(self, log_mel: Tensor) -> Tensor:
        """Natural log mel to the model's range, without a clip (for predictions, which may leave it)."""
        return 2.0 * (log_mel - self.log_floor) / (self.log_ceiling - self.log_floor) - 1.0

    def unscale(self, x: Tensor) -> Tensor:
        """The model's range to natural log mel; not clipped."""
        return (x + 1.0) / 2.0 * (self.log_ceiling - self.log_floor) + self.log_floor


# What a vocoder is told of a mel bin where there is no score: no partial near it, and nothing has just begun (model.playing.PlayedPrior).
NO_GUIDE = (0.0, -12.0, 1.0, 0.0, 0.0)

FORMATS = {
    "published": MelFormat(),
    # 50 frames a second, too. The window is two hops, so that an event changes no more frames than it does there; the transform
    # is longer than it, since the lowest bins lie closer together than one of its own length resolves.
    "full-band": MelFormat(48000, 960, 1920, 4096, 160, 20.0, 20000.0, floor=4e-5, log_ceiling=5.386),
}
