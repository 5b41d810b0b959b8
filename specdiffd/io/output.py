"""What the audio callback does: it copies from the timeline."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.clock import SampleClock
from specdiffd.base.config import AudioConfig
from specdiffd.dsp.limiter import Fader, Limiter, peak
from specdiffd.dsp.reverb import Reverb
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.sizes import CHANNELS, MAX_BLOCK, STEREO

PEAK_HALVES_S = 3.7  # half of a peak is forgotten: less, and who asks for the status twice a second misses it
RESTING_S = 0.17  # of silence between two looks at the clock, a block at least: less costs at rest, more lets the clock drift
# Half of how early callbacks have come is forgotten, of the time that was looked at: less, and splices come too late for them.
EARLY_HALVES_S = 7.4


class Player:
    """What the callback does: timeline and room times a ramped gain, limited. Nothing is locked or logged."""

    def __init__(self, shared: SharedBlock, config: AudioConfig, sample_rate_hz: int) -> None:
        self._timeline, self._played = shared.timeline, shared.played
        self._clock = SampleClock(sample_rate_hz)
        self._bus, self._silence = np.zeros((2, MAX_BLOCK, STEREO), np.float32)
        self._read = np.zeros((MAX_BLOCK, CHANNELS), np.float32)
        self._fader, self._missing, self._rate = Fader(sample_rate_hz, 0.0), False, sample_rate_hz
        self._limiter = Limiter(sample_rate_hz) if config.limiter else None
        self._ahead = np.zeros((self._limiter.ahead_samples if self._limiter else 0, CHANNELS), np.float32)
        self._reverb = Reverb(sample_rate_hz, config.block_size, config.reverb) if config.reverb else None
        header = shared.timeline.header
        header.clock_start = header.playhead
        header.resting_blocks = 0  # a player before this one may have left some
        header.sample_rate_hz = sample_rate_hz

    def fill(self, samples: int) -> NDArray[np.float32] | None:
        """The next block that is put out, (samples, STEREO), valid until the next call; None for silence on purpose."""
        header = self._timeline.header
        playhead, panics = header.playhead, header.panics
        if self._timeline.at_rest and (self._reverb is None or self._reverb.quiet):
            self._rest(samples, playhead)
            return None
        header.resting_blocks = 0
        self._tick(playhead, samples)
        bus = self._bus[:samples]
        read = self._read[:samples]
        missing = self._timeline.advance(read) > 0
        if missing and not self._missing:
            header.missing_runs += 1
        self._missing = missing
        bus[:] = read[:, :1]
        if self._reverb is not None:
            bus += self._reverb.process(read[:, 1])
        target = 0.0 if panics != header.handled_panics else self._target
        self._fader.apply(bus, target)
        if panics != header.muted_panics and self._fader.gain == target == 0.0:
            self._mute(panics)
        self._finish(bus)
        np.clip(bus, -1.0, 1.0, out=bus)
        self._played.add(bus)
        return bus

    def _mute(self, panics: int) -> None:
        """This block has faded out: the engine may take everything away."""
        if self._reverb is not None:
            self._reverb.silence()
        self._timeline.header.muted_panics = panics

    def _tick(self, playhead: int, samples: int) -> None:
        """The block of ``samples`` at ``playhead`` is being read now."""
        header, now_ns = self._timeline.header, time.monotonic_ns()
        header.clock_early_s = max(self._clock.early_s(playhead, now_ns), header.clock_early_s * self._left(samples, EARLY_HALVES_S))
        self._timeline.set_clock(self._clock.update(playhead, now_ns))

    def _rest(self, samples: int, playhead: int) -> None:
        """A block of silence on purpose, for next to nothing."""
        header = self._timeline.header
        header.muted_panics = header.panics
        if header.resting_blocks > 0:
            header.resting_blocks -= 1
        else:
            self._missing, self._fader.gain = False, self._target
            self._tick(playhead, samples)
            blocks = max(1, round(RESTING_S * self._rate / samples))
            header.peak *= self._left(blocks * samples, PEAK_HALVES_S)
            header.resting_blocks = blocks - 1
        header.playhead = playhead + samples
        self._played.add(self._silence[:samples])

    def _left(self, samples: int, halves_s: float) -> float:
        """What is left after so many samples of what is halved in ``halves_s``."""
        return float(0.5 ** (samples / (self._rate * halves_s)))

    @property
    def _target(self) -> float:
        """The gain that is ramped to."""
        header = self._timeline.header
        return header.gain if header.running else 0.0

    def _finish(self, bus: NDArray[np.float32]) -> None:
        """Limit the block, and measure it."""
        header = self._timeline.header
        if self._limiter is not None:
            there = max(0, min(len(self._ahead), header.valid_until - header.playhead))
            self._timeline.peek(self._ahead, there)
            header.limited_blocks += self._limiter.apply(bus, self._ahead[:there, :1] * np.float32(self._fader.gain))
        header.peak = max(peak(bus), header.peak * self._left(len(bus), PEAK_HALVES_S))
