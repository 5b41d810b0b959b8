"""Audio on its way from the instrument's sample rate to the timeline's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specdiffd.dsp.resample import Resampler
from specdiffd.player.settings import EngineSettings
from specdiffd.shared.sizes import CHANNELS

CAPACITY_SAMPLES = 1 << 18  # 16 s at 16 kHz: were it shorter than the forecast, the end would overwrite the beginning


class SourceBuffer:
    """A circular buffer of the instrument's audio by absolute sample at its rate; reads resample it.

    Its channels are the dry sound and, if the settings ask for it, the sound that goes to the reverberation.
    """

    def __init__(self, source_hz: int, settings: EngineSettings) -> None:
        self._resampler = Resampler(source_hz, settings.sample_rate_hz)
        self._audio = np.zeros((CAPACITY_SAMPLES, CHANNELS if settings.reverb else 1), np.float32)

    def write(self, at: int, audio: NDArray[np.float32]) -> None:
        """Put ``audio`` (samples, channels) at source sample ``at``."""
        self._audio[np.arange(at, at + len(audio)) % len(self._audio)] = audio

    def silence_before(self, end: int) -> None:
        """Sound begins at source sample ``end``: zero all that the resampler reads of the time before it."""
        reach = self._resampler.reach
        self.write(end - reach, np.zeros((reach, self._audio.shape[1]), np.float32))

    def ready(self, end: int) -> int:
        """The end of the timeline samples that can be read when source samples before ``end`` are written."""
        return self._resampler.ready(end)

    def read(self, first: int, last: int) -> NDArray[np.float32]:
        """Timeline samples [first, last), (samples, CHANNELS); none if ``last`` is not after ``first``."""
        if first >= last:
            return np.zeros((0, CHANNELS), np.float32)
        low, high = self._resampler.needs(first, last)
        audio = self._resampler.apply(self._audio[np.arange(low, high) % len(self._audio)], first, last)
        return np.pad(audio, ((0, 0), (0, CHANNELS - audio.shape[1]))) if audio.shape[1] < CHANNELS else audio
