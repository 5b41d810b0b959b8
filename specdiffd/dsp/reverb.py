"""A small room: stereo reverberation by convolution with decaying noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.events import Performance

Audio = NDArray[np.float32]
DECAY_S = 0.7  # until 60 dB below
DULL_HZ, DULL_DECAY_S = 3000.0, 0.35  # above it sound decays faster, as air and walls have it
PREDELAY_S = 0.012
REFLECTIONS, REFLECTED_UNTIL_S, REFLECTED = 8, 0.035, 0.35  # single ones, as amplitude of the first
SENDS_S = 0.05, 0.3  # how long before its onset and after its end a note counts for its channel's send


class Reverb:
    """Uniformly partitioned convolution (overlap-save), a block in, a stereo block out, no delay beyond the room's own.

    The room is noise that decays exponentially (J. A. Moorer, "About this reverberation business", 1979), high frequencies
    faster, after a few single reflections; as loud as what goes in, times ``level``.
    """

    def __init__(self, sample_rate_hz: int, block_samples: int, level: float) -> None:
        room = level * impulse_response(sample_rate_hz)
        self._block, self._parts = block_samples, -(-len(room) // block_samples)
        padded = np.pad(room, ((0, self._parts * block_samples - len(room)), (0, 0)))
        pieces = padded.reshape(self._parts, block_samples, 2).transpose(0, 2, 1)  # (parts, 2, block)
        self._room = np.fft.rfft(pieces, 2 * block_samples).astype(np.complex64)
        # Spectra of the last inputs, newest first, twice behind each other: whatever the place, as many as needed lie in a row.
        self._past = np.zeros((2 * self._parts, block_samples + 1), np.complex64)
        self._place = self._parts
        self._input = np.zeros(2 * block_samples, np.float32)
        self._sum = np.zeros((2, block_samples + 1), np.complex64)
        self._silence = self._parts + 1  # blocks of it that went in last

    @property
    def quiet(self) -> bool:
        """Whether nothing is left to be heard of what went in."""
        return self._silence > self._parts

    def silence(self) -> None:
        """Forget what went in."""
        self._past[:], self._input[:] = 0, 0
        self._silence = self._parts + 1

    def process(self, send: Audio) -> Audio:
        """The room's answer (block, 2) to the next block (block,)."""
        self._silence = 0 if send.any() else self._silence + 1
        block = self._block
        if self.quiet:
            return np.zeros((block, 2), np.float32)
        self._input[:block] = self._input[block:]
        self._input[block:] = send
        self._place = (self._place or self._parts) - 1
        self._past[self._place] = self._past[self._place + self._parts] = np.fft.rfft(self._input)
        np.einsum("pf,pcf->cf", self._past[self._place : self._place + self._parts], self._room, out=self._sum)
        answer = np.fft.irfft(self._sum, 2 * block)[:, block:]
        return np.ascontiguousarray(answer.T, np.float32)


def impulse_response(sample_rate_hz: int) -> Audio:
    """The room, (samples, 2), each ear's energy 1."""
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
    """What of ``audio`` (samples,), which begins at sample ``at``, goes to the room; its share is looked up every ``step`` samples."""
    edges = np.arange(0, len(audio) + 1, step)
    share = np.interp(np.arange(len(audio)), edges, sends(performance, (at + edges) / sample_rate_hz))
    return audio * share.astype(np.float32)


def sends(performance: Performance, times_s: NDArray[np.float64]) -> Audio:
    """How much of the sound goes to the room at ``times_s``, 0 to 1: the mean of the sounding notes' channels (CC 91)."""
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
