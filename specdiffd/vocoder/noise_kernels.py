"""The noise, compiled to play on a CPU: the same as `noise.NoiseSource.synthesise`, without gradients.

The inverse transform lies between the two kernels: :func:`shape_spectra` before it, :func:`overlap_add` after it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.loops import compiled, exp
from specdiffd.vocoder.limits_kernels import audibility
from specdiffd.vocoder.onset_gate_kernels import gate_hop

Floats = NDArray[np.float32]
f32 = np.float32
ZERO = f32(0)
REAL, IMAGINARY = 0, 1  # along the last dimension of spectra
# Log levels of a bin and of an envelope, in nepers. They bound what a network that errs can do; the weights are trained with these bounds.
LEAST_LOG_NOISE, MOST_LOG_NOISE = f32(-14), f32(4)
LEAST_LOG_ENVELOPE, MOST_LOG_ENVELOPE = f32(-8), f32(2)


class NoiseConstants(NamedTuple):
    """Values from the vocoder's config for the noise."""

    noise: Floats  # (frames, subframes, bins, 2) complex Gaussian, repeated
    nearest_mel_bin: NDArray[np.int64]  # (bins,) of each bin of the transform
    log_gain: Floats  # (bins,) log mel of noise of level 1
    window: Floats  # (fft_size,)
    envelope_point: NDArray[np.int64]  # (fft_size,) the last point of the envelope before each sample
    envelope_fraction: Floats  # (fft_size,) of the way from that point to the next
    spectrum_scale: np.float32  # square root of fft_size: the transform of noise of level 1
    sub_hop_samples: int
    log_floor: np.float32  # of the mel
    margin_nepers: np.float32  # see `limits.MARGIN_NEPERS`
    attack_samples: np.float32


@compiled
def shape_spectra(constants: NoiseConstants, log_noise: Floats, log_mel_ceiling: Floats, first_frame: int, spectra: Floats) -> None:
    """Write noise of the levels ``log_noise`` into ``spectra``.

    Args:
        constants: from the config.
        log_noise: (B, M, bins) nepers.
        log_mel_ceiling: (B, T, mel), see `heads.Heads`.
        first_frame: absolute number of the first frame.
        spectra: (B, M, bins, 2) real and imaginary parts, is written.
    """
    c = constants
    batch, rows, bins = log_noise.shape
    frames, subframes = c.noise.shape[:2]
    limit, scale = np.empty(bins, np.float32), np.empty(bins, np.float32)
    for b in range(batch):
        for m in range(rows):
            t = m // subframes
            if m % subframes == 0:
                for k in range(bins):
                    ceiling = log_mel_ceiling[b, t, c.nearest_mel_bin[k]]
                    limit[k] = ceiling - c.log_gain[k] + c.margin_nepers
                    scale[k] = audibility(ceiling, c.log_floor) * c.spectrum_scale
            noise = c.noise[(first_frame + t) % frames, m % subframes]
            for k in range(bins):
                level = exp(min(min(max(log_noise[b, m, k], LEAST_LOG_NOISE), MOST_LOG_NOISE), limit[k])) * scale[k]
                spectra[b, m, k, REAL] = level * noise[k, REAL]
                spectra[b, m, k, IMAGINARY] = level * noise[k, IMAGINARY]


@compiled
def overlap_add(
    constants: NoiseConstants, pieces: Floats, log_envelope: Floats, onsets: Floats, tail_before: Floats, audio: Floats, tails: Floats
) -> None:
    """Write the windowed pieces, overlapped, added and gated at onsets, into ``audio``.

    Args:
        constants: from the config.
        pieces: (B, M, fft_size) inverse transforms; they are overwritten.
        log_envelope: (B, M, points) nepers.
        onsets: (B, T, mel, 2), see `onset_gate`.
        tail_before: (B, fft_size - sub_hop) the earlier pieces' addition to the first samples.
        audio: (B, samples) is written.
        tails: (B, T, fft_size - sub_hop) is written: after each frame, the pieces' addition to later samples.
    """
    batch, rows, size = pieces.shape
    sub_hop, subframes = constants.sub_hop_samples, constants.noise.shape[1]
    hop = sub_hop * subframes
    overlap = np.empty((rows - 1) * sub_hop + size, np.float32)
    for b in range(batch):
        overlap[: size - sub_hop] = tail_before[b]
        overlap[size - sub_hop :] = ZERO
        _apply_envelopes(constants, pieces[b], log_envelope[b])
        for m in range(rows):
            for n in range(size):
                overlap[m * sub_hop + n] += pieces[b, m, n]
        for t in range(rows // subframes):
            _write_tail(sub_hop, pieces[b], (t + 1) * subframes, tails[b, t])
            gate_hop(constants.attack_samples, onsets[b, t], overlap[t * hop : (t + 1) * hop])
            audio[b, t * hop : (t + 1) * hop] = overlap[t * hop : (t + 1) * hop]


@compiled
def _apply_envelopes(constants: NoiseConstants, pieces: Floats, log_envelope: Floats) -> None:
    """Multiply ``pieces`` (M, fft_size) by the window and by their envelopes (M, points), linear between points."""
    c = constants
    rows, points = log_envelope.shape
    levels = np.empty(points + 1, np.float32)
    for m in range(rows):
        for p in range(points):
            levels[p] = exp(min(max(log_envelope[m, p], LEAST_LOG_ENVELOPE), MOST_LOG_ENVELOPE))
        levels[points] = levels[points - 1]
        for n in range(pieces.shape[1]):
            level = levels[c.envelope_point[n]]
            pieces[m, n] *= c.window[n] * (level + c.envelope_fraction[n] * (levels[c.envelope_point[n] + 1] - level))


@compiled
def _write_tail(sub_hop: int, pieces: Floats, rows: int, tail: Floats) -> None:
    """Fill ``tail`` (fft_size - sub_hop,) with the addition of the first ``rows`` of ``pieces`` (M, fft_size) to the samples after them."""
    size = pieces.shape[1]
    tail[:] = ZERO
    for back in range(1, min(rows, size // sub_hop - 1) + 1):
        for n in range(size - back * sub_hop):
            tail[n] += pieces[rows - back, back * sub_hop + n]
