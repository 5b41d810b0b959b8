"""The vocoder's signal processing as loops, for playing on a CPU: what `Vocoder.synthesise` does, without slopes to learn by.

An oscillator that is turned by its angle costs a few multiplications a sample, and all that is small around it no calls.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import compiled, exp, sine_and_cosine

Floats = NDArray[np.float32]
f32 = np.float32
ZERO, ONE, TWO = f32(0), f32(1), f32(2)
LEAST_TONE = f32(-18)  # log amplitude: in a bin of a mel it shows below the floor


class Bank(NamedTuple):
    """What the oscillators have of the vocoder's config."""

    centre_hz: Floats  # (K,)
    spread_hz: Floats  # (K,)
    rate_hz: np.float32
    subframes: int
    samples: int  # of a subframe
    tone_gain: np.float32  # log mel of a steady sinusoid of amplitude 1
    log_floor: np.float32  # of the mel
    margin: np.float32  # nepers that a level may be above a steady sound that explains its mel
    silent: np.float32  # log amplitude
    ramp: np.float32  # samples of an attack


class Noise(NamedTuple):
    """What the noise has of it."""

    noise: Floats  # (frames, subframes, bins, 2)
    nearest: NDArray[np.int64]  # (bins,) mel bin of each bin of the transform
    gain: Floats  # (bins,) log mel of noise of level 1
    hann: Floats  # (fft,)
    point: NDArray[np.int64]  # (fft,) of the envelope, before each sample
    beyond: Floats  # (fft,) how far on the way to the next
    root: np.float32  # of fft


class Levels(NamedTuple):
    """What bins of a transform are to the mel bins that lie around them, of which there is one more at either end."""

    below: NDArray[np.int64]  # (bins,) the first of the two
    low: Floats  # (bins,) height of its triangle
    high: Floats  # and of the next one's
    gain_low: Floats  # (bins,) what its log gain is of theirs
    gain_high: Floats
    floor: np.float32  # log
    most: np.float32  # nepers


@compiled
def tones(
    bank: Bank,
    log_amplitude: Floats,
    offset: Floats,
    onsets: Floats,
    ceiling: Floats,
    amplitude: Floats,
    cycles: Floats,
    first_row: int,
    wave: Floats,
) -> None:
    """Into ``wave`` (B, M, samples) the sum of the oscillators.

    Args:
        bank: constants.
        log_amplitude, offset, onsets, ceiling: of `melgan.Heads`.
        amplitude, cycles: (B, 1 + M, K): row 0 is the state before; the others are filled.
        first_row: absolute number of the first subframe.
        wave: is filled.
    """
    batch, rows, count = log_amplitude.shape
    samples, hop = bank.samples, bank.samples * bank.subframes
    y, x, sine, cosine = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32)
    level, rise, shut, begins = (
        np.empty(count, np.float32),
        np.empty(count, np.float32),
        np.empty(count, np.float32),
        np.empty(count, np.float32),
    )
    per_row, per_sample, steepness = f32(samples) / bank.rate_hz, ONE / bank.rate_hz, ONE / bank.ramp
    for b in range(batch):
        for m in range(rows):
            t, row = m // bank.subframes, np.float64(first_row + m) * np.float64(samples) / np.float64(bank.rate_hz)
            within = f32(m % bank.subframes * samples)
            last = -bank.ramp
            for k in range(count):
                highest = ceiling[b, t, k] - bank.tone_gain + bank.margin
                raw = min(min(max(log_amplitude[b, m, k], LEAST_TONE), TWO), highest)
                away = bank.spread_hz[k] * offset[b, m, k]
                whole = row * np.float64(bank.centre_hz[k])
                carrier = f32(whole - np.floor(whole))
                before = cycles[b, m, k]
                moved = before + away * per_row
                moved = ZERO if raw < bank.silent else moved - np.floor(moved)
                cycles[b, m + 1, k] = moved
                now = exp(raw) * max(ONE - exp(min(bank.log_floor - ceiling[b, t, k], ZERO)), ZERO)
                amplitude[b, m + 1, k] = now
                level[k] = amplitude[b, m, k]
                rise[k] = (now - level[k]) / f32(samples)
                y[k], x[k] = sine_and_cosine(carrier + before)
                sine[k], cosine[k] = sine_and_cosine((bank.centre_hz[k] + away) * per_sample)
            for k in range(count):
                begins[k] = TWO * f32(hop) * onsets[b, t, k, 1] - within
                shut[k] = ONE - math.sqrt(ONE - onsets[b, t, k, 0])
                if shut[k] > ZERO:
                    last = max(last, begins[k])
            free = (samples - min(max(int(np.ceil(last + bank.ramp)), 0), samples)) // 4 * 4
            gated = samples - free
            for n in range(gated):
                total = ZERO
                for k in range(count):
                    level[k] += rise[k]
                    closed = min(max(ONE - (f32(n) - begins[k]) * steepness, ZERO), ONE)
                    total += level[k] * (ONE - shut[k] * closed) * y[k]
                    turned = x[k] * cosine[k] - y[k] * sine[k]
                    y[k] = y[k] * cosine[k] + x[k] * sine[k]
                    x[k] = turned
                wave[b, m, n] = total
            for n in range(gated, samples, 4):  # at a time: what is turned goes to memory and back
                first, second, third, fourth = ZERO, ZERO, ZERO, ZERO
                for k in range(count):
                    c, s, up = cosine[k], sine[k], rise[k]
                    y0, x0 = y[k], x[k]
                    y1, x1 = y0 * c + x0 * s, x0 * c - y0 * s
                    y2, x2 = y1 * c + x1 * s, x1 * c - y1 * s
                    y3, x3 = y2 * c + x2 * s, x2 * c - y2 * s
                    at = level[k] + up
                    first += at * y0
                    at += up
                    second += at * y1
                    at += up
                    third += at * y2
                    at += up
                    fourth += at * y3
                    level[k], y[k], x[k] = at, y3 * c + x3 * s, x3 * c - y3 * s
                wave[b, m, n], wave[b, m, n + 1], wave[b, m, n + 2], wave[b, m, n + 3] = first, second, third, fourth


@compiled
def spectra(bank: Bank, c: Noise, level: Floats, ceiling: Floats, first_frame: int, real_and_imaginary: Floats) -> None:
    """Into ``real_and_imaginary`` (B, M, bins, 2) shaped noise: ``level`` (B, M, bins) log, ``ceiling`` (B, T, mel)."""
    batch, rows, bins = level.shape
    frames, subframes = c.noise.shape[:2]
    highest, audible = np.empty(bins, np.float32), np.empty(bins, np.float32)
    for b in range(batch):
        for m in range(rows):
            t = m // subframes
            if m % subframes == 0:
                for k in range(bins):
                    shown = ceiling[b, t, c.nearest[k]]
                    highest[k] = shown - c.gain[k] + bank.margin
                    audible[k] = max(ONE - exp(min(bank.log_floor - shown, ZERO)), ZERO) * c.root
            noise = c.noise[(first_frame + t) % frames, m % subframes]
            for k in range(bins):
                size = exp(min(min(max(level[b, m, k], f32(-14)), f32(4)), highest[k])) * audible[k]
                real_and_imaginary[b, m, k, 0] = size * noise[k, 0]
                real_and_imaginary[b, m, k, 1] = size * noise[k, 1]


@compiled
def add_noise(bank: Bank, c: Noise, pieces: Floats, envelope: Floats, onsets: Floats, before: Floats, audio: Floats, tails: Floats) -> None:
    """To ``audio`` (B, samples) the noise, overlapped and added, of notes that have begun.

    Args:
        bank, c: constants.
        pieces: (B, M, fft) inverse transforms; are overwritten.
        envelope: (B, M, points) log.
        onsets: (B, T, mel, 2), see `melgan.Heads`.
        before: (B, fft - subframe) what earlier pieces owe.
        audio: is added to.
        tails: (B, T, fft - subframe) is filled with what is owed after each frame.
    """
    batch, rows, size = pieces.shape
    hop, points, quarters = bank.samples, envelope.shape[2], size // bank.samples
    levels = np.empty(points + 1, np.float32)
    overlap = np.empty((rows + quarters - 1) * hop, np.float32)
    frame = hop * bank.subframes
    for b in range(batch):
        overlap[: size - hop] = before[b]
        overlap[size - hop :] = ZERO
        for m in range(rows):
            for p in range(points):
                levels[p] = exp(min(max(envelope[b, m, p], f32(-8)), TWO))
            levels[points] = levels[points - 1]
            for n in range(size):
                low = levels[c.point[n]]
                pieces[b, m, n] *= c.hann[n] * (low + c.beyond[n] * (levels[c.point[n] + 1] - low))
            for n in range(size):
                overlap[m * hop + n] += pieces[b, m, n]
        for t in range(rows // bank.subframes):
            tails[b, t] = ZERO
            after = (t + 1) * bank.subframes
            for back in range(1, quarters):
                if after - back >= 0:
                    for n in range(size - back * hop):
                        tails[b, t, n] += pieces[b, after - back, back * hop + n]
            _let_through(bank, onsets[b, t], overlap[t * frame : (t + 1) * frame])
            audio[b, t * frame : (t + 1) * frame] += overlap[t * frame : (t + 1) * frame]


@compiled
def _let_through(bank: Bank, onsets: Floats, audio: Floats) -> None:
    """Of a hop's ``audio`` (samples,) what belongs to notes that have begun, by the mean over the bins of ``onsets`` (mel, 2)."""
    bins, share, place = len(onsets), ZERO, ZERO
    for k in range(bins):
        share += onsets[k, 0]
        place += onsets[k, 0] * onsets[k, 1]
    share, place = share / f32(bins), place / f32(bins)
    if share == ZERO:
        return
    begins, quiet = TWO * f32(len(audio)) * place / max(share, f32(1e-6)), math.sqrt(ONE - share)
    for n in range(len(audio)):
        open_ = min(max((f32(n) - begins) / bank.ramp, ZERO), ONE)
        audio[n] *= quiet + (ONE - quiet) * open_


@compiled
def let_through(bank: Bank, onsets: Floats, audio: Floats) -> None:
    """Likewise, of ``audio`` (B, T, hop) with onsets (B, T, mel, 2)."""
    for b in range(audio.shape[0]):
        for t in range(audio.shape[1]):
            _let_through(bank, onsets[b, t], audio[b, t])


@compiled
def level(c: Levels, spectra: Floats, wanted: Floats) -> None:
    """Bring short-time ``spectra`` (B, T, bins, 2) to a log mel ``wanted`` (B, T, mel), within limits; silence is silent."""
    batch, frames, bins = spectra.shape[:3]
    mels = wanted.shape[2]
    size, missing = np.empty(bins, np.float32), np.empty(mels + 2, np.float32)
    for b in range(batch):
        for t in range(frames):
            for k in range(bins):
                real, imaginary = spectra[b, t, k, 0], spectra[b, t, k, 1]
                size[k] = math.sqrt(real * real + imaginary * imaginary)
            missing[:] = ZERO
            for k in range(bins):
                missing[c.below[k]] += size[k] * c.low[k]
                missing[c.below[k] + 1] += size[k] * c.high[k]
            for m in range(mels):
                measured = math.log(max(missing[m + 1], f32(1e-30)))
                missing[m + 1] = min(max(wanted[b, t, m] - max(measured, c.floor), -c.most), c.most)
            missing[0], missing[mels + 1] = ZERO, ZERO
            loudest = c.floor
            for m in range(mels):
                loudest = max(loudest, wanted[b, t, m])
            audible = ONE - exp(c.floor - loudest)
            for k in range(bins):
                size[k] = c.gain_low[k] * missing[c.below[k]] + c.gain_high[k] * missing[c.below[k] + 1]
            for k in range(bins):
                gain = audible * exp(size[k])
                spectra[b, t, k, 0] *= gain
                spectra[b, t, k, 1] *= gain
