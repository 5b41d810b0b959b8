"""A small room: stereo reverberation by convolution with decaying noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.events import Performance

Audio = NDArray[np.float32]
DECAY_S = 0.7  # to 60 dB below the start
DULL_HZ, DULL_DECAY_S = 3000.0, 0.35  # sound above this frequency decays faster, as air and walls absorb more of it
PREDELAY_S = 0.012
REFLECTIONS, REFLECTED_UNTIL_S, REFLECTED = 8, 0.035, 0.35  # early reflections: number, end of their times, amplitude
SENDS_S = 0.05, 0.3  # a note counts for its channel's send from this long before its onset to this long after its end


class Reverb:
    """Uniformly partitioned convolution (overlap-save): a block in, a stereo block out, without added delay.

    The room is exponentially decaying noise (J. A. Moorer, "About this reverberation business", 1979), faster at high
    frequencies, after a few early reflections. Its output is as loud as its input, times ``level``.
    """

    def __init__(self, sample_rate_hz: int, block_samples: int, level: float) -> None:
        room = level * impulse_response(sample_rate_hz)
        self._block, self._parts = block_samples, -(-len(room) // block_samples)
        padded = np.pad(room, ((0, self._parts * block_samples - len(room)), (0, 0)))
        pieces = padded.reshape(self._parts, block_samples, 2).transpose(0, 2, 1)  # (parts, 2, block)
        self._room = np.fft.rfft(pieces, 2 * block_samples).astype(np.complex64)
        # Spectra of the last inputs, newest first, in a circular buffer stored twice in a row: from any place on, all are contiguous.
        self._past = np.zeros((2 * self._parts, block_samples + 1), np.complex64)
        self._place = self._parts
        self._input = np.zeros(2 * block_samples, np.float32)
        self._sum = np.zeros((2, block_samples + 1), np.complex64)
        self._silence = self._parts + 1  # number of silent blocks that went in last

    @property
    def quiet(self) -> bool:
        """Whether the room has died away."""
        return self._silence > self._parts

    def silence(self) -> None:
        """Forget the input: the room is silent at once."""
        self._past[:], self._input[:] = 0, 0
        self._silence = self._parts + 1

    def process(self, send: Audio) -> Audio:
        """The room's output (block, 2) for the next input block (block,)."""
        self._silence = 0 if send.any() else self._silence + 1
        block = self._block
        if self.quiet:
            return np.zeros((block, 2), np.float32)
        self._input[:block] = self._input[block:]
        self._input[block:] = send
        self._place = (self._place or self._parts) - 1
        self._past[self._place] = self._past[self._place + self._parts] = np.fft.rfft(self._input)
        np.einsum("pf,pcf->cf", self._past[self._place : self._place + self._parts], self._room, out=self._sum)
        output = np.fft.irfft(self._sum, 2 * block)[:, block:]
        return np.ascontiguousarray(output.T, np.float32)


def impulse_response(sample_rate_hz: int) -> Audio:
    """The room's impulse response (samples, 2), of energy 1 in each channel."""
    rng = np.random.default_rng(0)
    times_s = np.arange(round(DECAY_S * sample_rate_hz)) / sample_rate_hz
    spectrum = np.fft.rfft(rng.normal(0, 1, (len(times_s), 2)), axis=0)
    dull = (np.fft.rfftfreq(len(times_s), 1 / sample_rate_hz) < DULL_HZ)[:, None]
    room = sum(
        np.fft.irfft(spectrum * band, len(times_s), axis=0) * (10 ** (-3 * times_s / decay_s))[:, None]
        for band, decay_s in ((dull, DECAY_S), (~dull, DULL_DECAY_S))
    )
    room = np.asarray(room)
    room[times_s < PREDELAY_S] = 0
    peak = np.abs(room).max()
    for at_s in rng.uniform(PREDELAY_S / 2, REFLECTED_UNTIL_S, REFLECTIONS):
        ear = int(rng.integers(2))
        room[round(at_s * sample_rate_hz), ear] += REFLECTED / DULL_DECAY_S * peak * math.exp(-at_s / REFLECTED_UNTIL_S)
    return (room / np.sqrt((room**2).sum(0))).astype(np.float32)


def to_room(audio: Audio, performance: Performance, at: int, step: int, sample_rate_hz: int) -> Audio:
    """The part of ``audio`` (samples,), which begins at sample ``at``, that goes to the room. Its share is computed every ``step`` samples."""
    edges = np.arange(0, len(audio) + 1, step)
    share = np.interp(np.arange(len(audio)), edges, sends(performance, (at + edges) / sample_rate_hz))
    return audio * share.astype(np.float32)


def sends(performance: Performance, times_s: NDArray[np.float64]) -> Audio:
    """The share of the sound that goes to the room at ``times_s``, 0 to 1: the mean of CC 91 over the sounding notes' channels."""
    total, count = np.zeros(len(times_s), np.float32), np.zeros(len(times_s), np.float32)
    first_s, last_s = times_s[0], times_s[-1]
    values: dict[int, Audio] = {}
    for note in performance.notes:
        onset_s, end_s = note.onset_s - SENDS_S[0], note.end_s + SENDS_S[1]
        if onset_s > last_s or end_s < first_s:
            continue
        if note.channel not in values:
            values[note.channel] = performance.controllers[note.channel].reverb.at(times_s)
        sounds = (onset_s <= times_s) & (times_s < end_s)
        total += sounds * values[note.channel]
        count += sounds
    return np.asarray(total / np.maximum(count, 1), np.float32)
