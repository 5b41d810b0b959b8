"""The audio format of an instrument as a value, and the arithmetic of its frames. No other module has a fixed rate or hop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

# In hops. In floating point, a moment at a multiple of the hop is often a rounding error before it. Without a tolerance it would belong to
# the frame before.
HOP_TOLERANCE = 1e-6


class FrameGrid(Protocol):
    """Places frames in time: frame i covers samples [hop * i, hop * i + window). Formats and instruments are such grids."""

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second."""

    @property
    def hop_samples(self) -> int:
        """Samples from the beginning of one frame to that of the next."""

    @property
    def window_samples(self) -> int:
        """Samples that a frame covers."""


def first_frame_at(sample: float, grid: FrameGrid) -> int:
    """The first frame that a sound beginning at ``sample`` can change: the first whose window ends after it."""
    return math.floor((sample - grid.window_samples) / grid.hop_samples + HOP_TOLERANCE) + 1


@dataclass(frozen=True)
class MelFormat:
    """All parameters of a log-mel spectrogram. The defaults are the published format."""

    sample_rate_hz: int = 16000
    hop_samples: int = 320
    window_samples: int = 640
    fft_size: int = 1024
    mel_bins: int = 128
    low_hz: float = 0.0
    high_hz: float = 8000.0
    floor: float = 1e-5  # magnitudes below it are cut off
    log_ceiling: float = 4.0  # natural log; the upper end of the model's range

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_samples / self.sample_rate_hz

    def first_frame_of(self, time_s: float) -> int:
        """The first frame that a sound beginning at ``time_s`` can change."""
        return first_frame_at(time_s * self.sample_rate_hz, self)

    def starts_s(self, first: int, frames: int) -> NDArray[np.floating[Any]]:
        """Times (frames,) of the first samples of frames ``first`` and on, in seconds."""
        return (first + np.arange(frames)) * self.frame_s

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


class GuideBin(NamedTuple):
    """What the vocoder is told of one mel bin in one frame, from the score: the last axis of a guide, in this order. Compiled loops read it too."""

    offset_bins: float  # from the bin's centre to the strongest partial near it
    log_amplitude: float  # of that partial, natural log
    sounding_share: float  # mean over the notes, by power, of how much of the frame's window lies after their onset, 0 to 1
    onset_share: float  # share of the power of notes that begin within the frame's window, 0 to 1
    onset_place: float  # where in the window the strongest of those notes begins, 0 to 1


# Without a score: no partial near the bin, and no note has just begun. The vocoder was trained with these values.
NO_GUIDE = GuideBin(0.0, -12.0, 1.0, 0.0, 0.0)

FORMATS = {
    "published": MelFormat(),
    # 50 frames a second as well. The window is two hops, so that an event changes as few frames as in the published format. The transform is
    # longer than the window, since the lowest bins lie closer together than a transform of the window's length resolves.
    "full-band": MelFormat(48000, 960, 1920, 4096, 160, 20.0, 20000.0, floor=4e-5, log_ceiling=5.386),
}
