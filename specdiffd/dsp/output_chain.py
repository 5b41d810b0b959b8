"""From an instrument's audio to what a file gets: resampling, a room, gain and limiter, with silence left out on the way.

Audio travels as pairs of a first sample and samples (n, channels), in order. Between pairs there is silence.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from specdiffd.dsp.limiter import Limiter
from specdiffd.dsp.resample import Resampler
from specdiffd.dsp.reverb import Reverb

BLOCK = 1024  # samples that the room and the limiter work on
Audio = NDArray[np.float32]
Pieces = Iterator[tuple[int, Audio]]


def finished(source: Pieces, resampler: Resampler, rate_hz: int, gain: float, reverb: float) -> Pieces:
    """The pieces that are put out, at ``rate_hz``.

    Args:
        source: audio (n, 2) at the instrument's rate: dry, and what of it goes to the room.
        resampler: from that rate to ``rate_hz``.
        gain: a factor.
        reverb: level of the room, 0 to 1. With it the result has two channels, else one.
    """
    blocks = _in_blocks(_resampled(source, resampler))
    audio = _in_a_room(blocks, rate_hz, reverb) if reverb else ((at, block[:, :1]) for at, block in blocks)
    return _limited(((at, gain * block) for at, block in audio), rate_hz)


def _in_blocks(source: Pieces) -> Pieces:
    """The same audio in pieces of ``BLOCK`` samples that begin at its multiples; a block without any audio is left out."""
    pending, at = np.zeros((0, 2), np.float32), 0
    for first, audio in source:
        if first > at + len(pending) + BLOCK:  # a gap: the block before it is filled up
            if len(pending):
                yield at, np.pad(pending, ((0, BLOCK - len(pending)), (0, 0)))
            pending, at = pending[:0], first // BLOCK * BLOCK
        pending = np.concatenate((pending, np.zeros((first - at - len(pending), 2), np.float32), audio))
        while len(pending) >= BLOCK:
            yield at, pending[:BLOCK]
            pending, at = pending[BLOCK:], at + BLOCK
    if len(pending):
        yield at, np.pad(pending, ((0, BLOCK - len(pending)), (0, 0)))


def _in_a_room(source: Pieces, rate_hz: int, level: float) -> Pieces:
    """Blocks of sound with the room around them, stereo, until it is silent again."""
    room, at = Reverb(rate_hz, BLOCK, level), 0
    for first, block in source:
        while at < first and not room.quiet:
            yield at, room.process(np.zeros(BLOCK, np.float32))
            at += BLOCK
        yield first, block[:, :1] + room.process(block[:, 1])
        at = first + BLOCK
    while not room.quiet:
        yield at, room.process(np.zeros(BLOCK, np.float32))
        at += BLOCK


def _limited(source: Pieces, rate_hz: int) -> Pieces:
    """Blocks without peaks over the limiter's ceiling; it looks one block ahead."""
    limiter, held = Limiter(rate_hz), next(source, None)
    while held is not None:
        first, audio = held
        held = next(source, None)
        limiter.apply(audio, audio[:0] if held is None else held[1])
        yield first, audio


def _resampled(source: Pieces, resampler: Resampler) -> Pieces:
    """Audio at another rate, nothing before sample 0."""
    pending, start, done = np.zeros((0, 2), np.float32), 0, 0
    for first, audio in source:
        if first != start + len(pending):
            if len(pending):
                yield from _flush(pending, start, done, resampler)
            pending, start = np.zeros((resampler.reach, 2), np.float32), first - resampler.reach
            done = max(0, resampler.ready(first))
        pending = np.concatenate((pending, audio))
        ready = resampler.ready(start + len(pending))
        if ready > done:
            low, high = resampler.needs(done, ready)
            yield done, resampler.apply(_slice(pending, start, low, high), done, ready)
            keep = resampler.needs(ready, ready + 1)[0] - start
            pending, start, done = pending[max(0, keep) :], start + max(0, keep), ready
    if len(pending):
        yield from _flush(pending, start, done, resampler)


def _flush(pending: Audio, start: int, done: int, resampler: Resampler) -> Pieces:
    """What is left of ``pending``, which begins at ``start``, once silence follows it."""
    end = resampler.ready(start + len(pending) + resampler.reach)
    if end > done:
        low, high = resampler.needs(done, end)
        yield done, resampler.apply(_slice(pending, start, low, high), done, end)


def _slice(audio: Audio, start: int, low: int, high: int) -> Audio:
    """Samples [low, high) of ``audio``, which begins at ``start``; zeros outside."""
    inside = audio[max(0, low - start) : max(0, high - start)]
    before = max(0, start - low)
    return np.pad(inside, ((before, high - low - len(inside) - before), (0, 0)))
