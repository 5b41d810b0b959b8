"""What the audio callback does: it copies from the timeline."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from specdiffd.audio.limiter import Limiter, Ramp, peak
from specdiffd.audio.reverb import Reverb
from specdiffd.clock import SampleClock
from specdiffd.config import AudioConfig
from specdiffd.io.shared import MAX_BLOCK, STEREO, SharedBlock
from specdiffd.io.timeline import CHANNELS

PEAK_DECAY = 0.999  # a block
RESTING_TICKS = 32  # blocks of silence between two looks at the clock
EARLY_DECAY = 0.9995  # a callback, of how early they have come: half is forgotten in 1,400


class Player:
    """What the callback does: timeline and room times a ramped gain, limited. Nothing is locked or logged; the room alone allocates."""

    def __init__(self, shared: SharedBlock, config: AudioConfig, sample_rate_hz: int) -> None:
        self._timeline, self._played = shared.timeline, shared.played
        self._clock = SampleClock(sample_rate_hz)
        self._bus, self._silence = np.zeros((2, MAX_BLOCK, STEREO), np.float32)
        self._read = np.zeros((MAX_BLOCK, CHANNELS), np.float32)
        self._scratch = np.zeros((MAX_BLOCK, CHANNELS), np.float32)
        self._ramp = Ramp(MAX_BLOCK)
        self._limiter = Limiter(sample_rate_hz, MAX_BLOCK) if config.limiter else None
        self._gain, self._missing = 0.0, False
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
        self._tick(playhead)
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
        self._ramp.apply(bus, self._gain, target)
        self._gain = target
        if panics != header.muted_panics and target == 0.0:
            self._mute(panics)
        self._limit(bus, target)
        np.clip(bus, -1.0, 1.0, out=bus)
        self._played.add(bus)
        return bus

    def _mute(self, panics: int) -> None:
        """This block has faded out: the engine may take everything away."""
        if self._reverb is not None:
            self._reverb.silence()
        self._timeline.header.muted_panics = panics

    def _tick(self, playhead: int) -> None:
        """The block at ``playhead`` is being read now."""
        header, now_ns = self._timeline.header, time.monotonic_ns()
        header.clock_early_s = max(self._clock.early_s(playhead, now_ns), header.clock_early_s * EARLY_DECAY)
        self._timeline.set_clock(self._clock.update(playhead, now_ns))

    def _rest(self, samples: int, playhead: int) -> None:
        """A block of silence on purpose, for next to nothing."""
        header = self._timeline.header
        header.muted_panics = header.panics
        if header.resting_blocks > 0:
            header.resting_blocks -= 1
        else:
            self._missing, self._gain = False, self._target
            self._tick(playhead)
            header.peak *= PEAK_DECAY**RESTING_TICKS
            header.resting_blocks = RESTING_TICKS - 1
        header.playhead = playhead + samples
        self._played.add(self._silence[:samples])

    @property
    def _target(self) -> float:
        """The gain that is ramped to."""
        header = self._timeline.header
        return header.gain if header.running else 0.0

    def _limit(self, bus: NDArray[np.float32], gain: float) -> None:
        """Look one block ahead in the timeline, so that the gain is already down when a peak comes."""
        header, ahead = self._timeline.header, self._scratch[: len(bus)]
        if self._limiter is not None:
            there = max(0, min(len(bus), header.valid_until - header.playhead))
            self._timeline.peek(ahead, there)
            header.limited_blocks += self._limiter.apply(bus, peak(ahead[:there]) * gain)
        header.peak = max(peak(bus), header.peak * PEAK_DECAY)
