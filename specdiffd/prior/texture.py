"""Texture: noise that stands for what a spectrogram has and the score does not determine.

A soundfont plays the same recording each time a note is struck. So the noise is a function of the note's key, program and age, not of the
time at which it is played, and not of a seed.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from specdiffd.prior.config import DRUM_PROGRAM
from specdiffd.prior.note_features import NoteFeatures

# Correlations of the noise between frames and between bins, at 50 frames a second and 160 bins. Those between bins were measured on test
# pieces, on the part that changes from frame to frame. Those between frames are less than measured (0.74 at lag 1, and a long tail), because
# the measurement contains wrong levels: with all of it an organ's level wandered by 2.7 dB, with 0.74 and no tail by 1.8, with this by 0.7.
CORRELATION_OF_FRAMES = 0.70 ** np.arange(256)  # before the taps' mean is subtracted
CORRELATION_OF_BINS = np.append((1, 0.54, 0.25, 0.19, 0.18, 0.15), 0.15 * np.exp(-np.arange(1, 251) / 10))
LOWEST = 4.0  # deviations below the mean at which the noise is clipped: its lower tail is long
REACH = 24  # half length of the filters, in frames and in bins: shorter ones would cut the correlations off
FRAMES = 8192  # period of the noise, 164 s
SEED = 104_729
PHASE = 0.37  # of a frame, added before rounding: onsets at halves and quarters of a frame would be rounded up and down in turn
KEY_FRAMES, PROGRAM_FRAMES = 997, 3571  # distance between the rows of two keys or programs: closer, their noises would be correlated


@functools.cache
def _taps(of_frames: bool) -> Tensor:
    """Filter (2 REACH + 1) that gives white noise the correlations: the inverse transform of the root of their spectrum."""
    one_side = (CORRELATION_OF_FRAMES if of_frames else CORRELATION_OF_BINS) * np.linspace(1, 0, 256)
    spectrum = np.fft.fft(np.concatenate((one_side, one_side[:0:-1]))).real
    taps = np.roll(np.fft.ifft(np.sqrt(np.maximum(spectrum, 0))).real, REACH)[: 2 * REACH + 1]
    taps -= of_frames * taps.mean()
    return torch.from_numpy((taps / np.linalg.norm(taps)).astype(np.float32))


NEXT_FRAME = float(_taps(True)[1:] @ _taps(True)[:-1])  # the correlation of frames beside each other


@functools.cache
def noise(bins: int) -> Tensor:
    """Noise (FRAMES, bins) of variance 1 with about the correlations above, periodic in frames.

    It is distributed as the log magnitude of a sum of many partials (the log of a Rayleigh variable): at most two and a half deviations above
    the mean, further below it. With the roughness of an organ's upper partials, normal noise changed the level by 1.05 dB from second to
    second, this by 0.3.
    """
    white = torch.from_numpy(np.random.default_rng(SEED).standard_normal((FRAMES, bins + 2 * REACH), np.float32))
    white = torch.cat((white[-REACH:], white, white[:REACH]))
    normal = white
    for of_frames in (True, False):
        normal = F.conv1d(normal.T[:, None], _taps(of_frames)[None, None])[:, 0]
    of_sum = 0.5 * torch.log(-torch.special.log_ndtr(-normal))
    return ((of_sum + np.euler_gamma / 2) / (math.pi / math.sqrt(24))).clamp_min(-LOWEST)


def rows(x: NoteFeatures, frame_s: float) -> Tensor:
    """The row (N, F) of :func:`noise` for each note in each frame."""
    program = torch.where(x.drum, DRUM_PROGRAM, x.program)
    first = x.key * KEY_FRAMES + program * PROGRAM_FRAMES
    return (first[:, None] + (x.age_s / frame_s + PHASE).floor().long()) % FRAMES
