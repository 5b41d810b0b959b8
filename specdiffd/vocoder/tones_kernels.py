"""The sinusoids, compiled to play on a CPU: the same as `tones.ToneBank.synthesise`, without gradients.

An oscillator is a vector that is rotated by a constant angle at each sample: a few multiplications, without a call to sine or exp.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import compiled, exp, sine_and_cosine
from specdiffd.vocoder.limits_kernels import audibility
from specdiffd.vocoder.onset_gate_kernels import PLACE, SHARE

Floats = NDArray[np.float32]
f32 = np.float32
ZERO, ONE, TWO = f32(0), f32(1), f32(2)
LEAST_LOG_AMPLITUDE = f32(-18)  # below the floor of any mel bin; bounds what a network that errs can do
MOST_LOG_AMPLITUDE = f32(2)  # 17 dB over full scale: bounds what a network that errs can do


class ToneConstants(NamedTuple):
    """Values from the vocoder's config for the oscillators."""

    centre_hz: Floats  # (K,) of the mel bins
    half_width_hz: Floats  # (K,) of the mel bins
    sample_rate_hz: np.float32
    subframes: int  # per frame
    sub_hop_samples: int
    log_gain: np.float32  # log mel of a steady sinusoid of amplitude 1
    log_floor: np.float32  # of the mel
    margin_nepers: np.float32  # see `limits.MARGIN_NEPERS`
    silent_log_amplitude: np.float32  # below it an oscillator forgets its phase
    attack_samples: np.float32


class ToneTargets(NamedTuple):
    """The heads' outputs for tones, see `heads.Heads`."""

    log_amplitude: Floats  # (B, M, K)
    frequency_offset: Floats  # (B, M, K) half widths
    onsets: Floats  # (B, T, mel, 2)
    log_mel_ceiling: Floats  # (B, T, mel)


class ToneRows(NamedTuple):
    """Amplitudes and phases at the ends of subframes. Row 0 is the state before; the kernel fills rows 1 and on."""

    amplitude: Floats  # (B, 1 + M, K)
    phase_cycles: Floats  # (B, 1 + M, K) relative to the bin's centre frequency


class Oscillators(NamedTuple):
    """The oscillators within a subframe, (K,) each."""

    amplitude: Floats  # at the last sample
    slope: Floats  # of the amplitude per sample
    sine: Floats  # of the phase at the next sample
    cosine: Floats
    step_sine: Floats  # of the phase's advance per sample
    step_cosine: Floats
    attenuation: Floats  # 1 - gain before the onset
    onset_samples: Floats  # from the beginning of the subframe


@compiled
def sum_tones(constants: ToneConstants, targets: ToneTargets, rows: ToneRows, first_subframe: int, tones: Floats) -> None:
    """Write the sum of the oscillators into ``tones``.

    Args:
        constants: from the config.
        targets: from the heads.
        rows: row 0 is read, rows 1 and on are written.
        first_subframe: absolute number of the first subframe.
        tones: (B, M, sub_hop) is written.
    """
    batch, subframes, count = targets.log_amplitude.shape
    oscillators, attack_per_sample = _empty_oscillators(count), ONE / constants.attack_samples
    for b in range(batch):
        for m in range(subframes):
            _aim(constants, targets, rows, first_subframe, b, m, oscillators)
            gated = _gate(constants, targets.onsets, b, m, oscillators)
            _sum_gated(attack_per_sample, oscillators, tones[b, m, :gated])
            _sum_open(oscillators, tones[b, m, gated:])


@compiled
def _empty_oscillators(count: int) -> Oscillators:
    rows = np.empty((8, count), np.float32)
    return Oscillators(rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7])


@compiled
def _aim(
    constants: ToneConstants, targets: ToneTargets, rows: ToneRows, first_subframe: int, b: int, m: int, oscillators: Oscillators
) -> None:
    """Start the oscillators of stream ``b`` on subframe ``m``, and write that subframe's row of amplitudes and phases."""
    c, t, samples = constants, m // constants.subframes, constants.sub_hop_samples
    amplitude, slope, sine, cosine = oscillators.amplitude, oscillators.slope, oscillators.sine, oscillators.cosine
    step_sine, step_cosine = oscillators.step_sine, oscillators.step_cosine
    time_s = np.float64(first_subframe + m) * np.float64(samples) / np.float64(c.sample_rate_hz)
    s_per_subframe, s_per_sample = f32(samples) / c.sample_rate_hz, ONE / c.sample_rate_hz
    for k in range(len(sine)):
        ceiling = targets.log_mel_ceiling[b, t, k]
        limit = ceiling - c.log_gain + c.margin_nepers
        log_amplitude = min(min(max(targets.log_amplitude[b, m, k], LEAST_LOG_AMPLITUDE), MOST_LOG_AMPLITUDE), limit)
        offset_hz = c.half_width_hz[k] * targets.frequency_offset[b, m, k]
        carrier_cycles = time_s * np.float64(c.centre_hz[k])
        carrier_phase = f32(carrier_cycles - np.floor(carrier_cycles))
        phase_before = rows.phase_cycles[b, m, k]
        phase = phase_before + offset_hz * s_per_subframe
        rows.phase_cycles[b, m + 1, k] = ZERO if log_amplitude < c.silent_log_amplitude else phase - np.floor(phase)
        amplitude_after = exp(log_amplitude) * audibility(ceiling, c.log_floor)
        rows.amplitude[b, m + 1, k] = amplitude_after
        amplitude[k] = rows.amplitude[b, m, k]
        slope[k] = (amplitude_after - amplitude[k]) / f32(samples)
        sine[k], cosine[k] = sine_and_cosine(carrier_phase + phase_before)
        step_sine[k], step_cosine[k] = sine_and_cosine((c.centre_hz[k] + offset_hz) * s_per_sample)


@compiled
def _gate(constants: ToneConstants, onsets: Floats, b: int, m: int, oscillators: Oscillators) -> int:
    """Set the oscillators' gates in subframe ``m`` of stream ``b``; how many samples pass until all of them are open."""
    c, t, samples = constants, m // constants.subframes, constants.sub_hop_samples
    hop_samples = samples * c.subframes
    subframe_samples = f32(m % c.subframes * samples)
    last_onset_samples = -c.attack_samples
    for k in range(len(oscillators.sine)):
        oscillators.onset_samples[k] = TWO * f32(hop_samples) * onsets[b, t, k, PLACE] - subframe_samples
        oscillators.attenuation[k] = ONE - math.sqrt(ONE - onsets[b, t, k, SHARE])
        if oscillators.attenuation[k] > ZERO:
            last_onset_samples = max(last_onset_samples, oscillators.onset_samples[k])
    gated = min(max(int(np.ceil(last_onset_samples + c.attack_samples)), 0), samples)
    return samples - (samples - gated) // 4 * 4  # the rest is summed four samples at a time


@compiled
def _sum_gated(attack_per_sample: np.float32, oscillators: Oscillators, tone: Floats) -> None:
    """Write the sum of the oscillators, of which some wait for their onset, into ``tone`` (samples,)."""
    amplitude, slope, attenuation, onset_samples = (
        oscillators.amplitude,
        oscillators.slope,
        oscillators.attenuation,
        oscillators.onset_samples,
    )
    sine, cosine, step_sine, step_cosine = oscillators.sine, oscillators.cosine, oscillators.step_sine, oscillators.step_cosine
    for n in range(len(tone)):
        total = ZERO
        for k in range(len(sine)):
            amplitude[k] += slope[k]
            closed = min(max(ONE - (f32(n) - onset_samples[k]) * attack_per_sample, ZERO), ONE)
            total += amplitude[k] * (ONE - attenuation[k] * closed) * sine[k]
            rotated = cosine[k] * step_cosine[k] - sine[k] * step_sine[k]
            sine[k] = sine[k] * step_cosine[k] + cosine[k] * step_sine[k]
            cosine[k] = rotated
        tone[n] = total


@compiled
def _sum_open(oscillators: Oscillators, tone: Floats) -> None:
    """Write the sum of the oscillators into ``tone`` (samples,), whose length is a multiple of 4.

    Four samples at a time, since the oscillators' phases go to memory and back at each pass.
    """
    amplitude, slope = oscillators.amplitude, oscillators.slope
    sine, cosine, step_sine, step_cosine = oscillators.sine, oscillators.cosine, oscillators.step_sine, oscillators.step_cosine
    for n in range(0, len(tone), 4):
        first, second, third, fourth = ZERO, ZERO, ZERO, ZERO
        for k in range(len(sine)):
            c, s, rise = step_cosine[k], step_sine[k], slope[k]
            sine0, cosine0 = sine[k], cosine[k]
            sine1, cosine1 = sine0 * c + cosine0 * s, cosine0 * c - sine0 * s
            sine2, cosine2 = sine1 * c + cosine1 * s, cosine1 * c - sine1 * s
            sine3, cosine3 = sine2 * c + cosine2 * s, cosine2 * c - sine2 * s
            level = amplitude[k] + rise
            first += level * sine0
            level += rise
            second += level * sine1
            level += rise
            third += level * sine2
            level += rise
            fourth += level * sine3
            amplitude[k], sine[k], cosine[k] = level, sine3 * c + cosine3 * s, cosine3 * c - sine3 * s
        tone[n], tone[n + 1], tone[n + 2], tone[n + 3] = first, second, third, fourth
