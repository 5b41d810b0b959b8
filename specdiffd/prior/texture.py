"""What a score leaves open of a spectrogram, as noise that belongs to the notes.

A soundfont's note sounds alike each time, down to what nobody could tell from the score: it is a recording. So the noise
that stands for that is a function of the key, the program and the age of a note, not of when it is played or of a seed.
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

# What a score leaves open at 50 frames a second and 160 bins is alike in close frames and bins. In bins as measured on
# unseen pieces, of what changes from frame to frame; in frames less than measured (0.74 for the next, a long tail), of which misjudged
# levels are a part: with all of that an organ's level wandered by 2.7 dB, with 0.74 and no tail by 1.8, so by 0.7.
CORRELATION_OF_FRAMES = 0.70 ** np.arange(256)  # before a second's mean is taken from it
CORRELATION_OF_BINS = np.append((1, 0.54, 0.25, 0.19, 0.18, 0.15), 0.15 * np.exp(-np.arange(1, 251) / 10))
LOWEST = 4.0  # deviations below the mean
REACH = 24  # frames and bins to either side that a sample of the noise is made of
FRAMES = 8192  # after which it comes again, 164 s
SEED = 104_729
PHASE = 0.37  # of a frame: onsets are often at halves and quarters, which must not be rounded to either side in turn
KEY_FRAMES, PROGRAM_FRAMES = 997, 3571  # by which keys and programs lie apart in it


@functools.cache
def _taps(of_frames: bool) -> Tensor:
    """Filter (2 REACH + 1) that gives white noise the correlations, by the square root of their spectrum."""
    one_side = (CORRELATION_OF_FRAMES if of_frames else CORRELATION_OF_BINS) * np.linspace(1, 0, 256)
    spectrum = np.fft.fft(np.concatenate((one_side, one_side[:0:-1]))).real
    taps = np.roll(np.fft.ifft(np.sqrt(np.maximum(spectrum, 0))).real, REACH)[: 2 * REACH + 1]
    taps -= of_frames * taps.mean()
    return torch.from_numpy((taps / np.linalg.norm(taps)).astype(np.float32))


NEXT_FRAME = float(_taps(True)[1:] @ _taps(True)[:-1])  # the correlation of frames beside each other


@functools.cache
def noise(bins: int) -> Tensor:
    """Noise (FRAMES, bins) of variance 1 with about the correlations above; its end goes on at its beginning.

    Distributed as the log magnitude of a sum of many partials, Rayleigh's: it rises by two and a half deviations at most and falls by more.
    Normal noise as rough as an organ's upper partials are taken to be moved its level by 1.05 dB from second to second, this by 0.3.
    """
    white = torch.from_numpy(np.random.default_rng(SEED).standard_normal((FRAMES, bins + 2 * REACH), np.float32))
    white = torch.cat((white[-REACH:], white, white[:REACH]))
    normal = white
    for of_frames in (True, False):
        normal = F.conv1d(normal.T[:, None], _taps(of_frames)[None, None])[:, 0]
    of_sum = 0.5 * torch.log(-torch.special.log_ndtr(-normal))
    return ((of_sum + np.euler_gamma / 2) / (math.pi / math.sqrt(24))).clamp_min(-LOWEST)


def rows(x: NoteFeatures, frame_s: float) -> Tensor:
    """Which row of :func:`noise` is that of a note in a frame: (N, F)."""
    program = torch.where(x.drum, DRUM_PROGRAM, x.program)
    first = x.key * KEY_FRAMES + program * PROGRAM_FRAMES
    return (first[:, None] + (x.age_s / frame_s + PHASE).floor().long()) % FRAMES
