"""The note prior as it plays: what `NotePrior.contributions` says, as compiled loops over the notes that sound.

A stretch of ten frames with a few notes is little arithmetic in many small steps; as operations on tensors it took four times as long, most
of it in calling them, padding and copying. Here also is what only playing needs, and no training: texture, and the vocoder's guide.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from specdiffd.base.formats import NO_GUIDE, GuideBin
from specdiffd.prior.arrays import array
from specdiffd.prior.config import DETAIL_AGES_S
from specdiffd.prior.dense_kernels import f32
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import NoteFeatures
from specdiffd.prior.playing_kernels import Constants, HeardArrays, NotesInFrames, hear
from specdiffd.prior.timbre_cache import TimbreCache


class Heard(NamedTuple):
    """What a score says of frames."""

    mel: Tensor  # (F, mel) natural log
    texture: Tensor  # (F, mel) noise to be added, in nepers, as rough as the notes are; 0 where there is no noise
    guide: Tensor  # (F, mel, 5) for the vocoder, as `formats.GuideBin`


class PlayedPrior:
    """A note prior's results for playing, on the CPU: computes what the `NotePrior` does.

    The guide tells what a score knows and a mel spectrogram does not, of low and close notes and of onsets: a `formats.GuideBin` for every
    frame and bin, ``NO_GUIDE`` where there is nothing.

    Args:
        prior: whose weights are copied.
        noise: (rows, mel) of variance 1, which texture is made of; None: none.
    """

    KEPT = 1024  # timbres, of 70 kB each at 160 bins
    # Timbres of bent notes that are made for each frame: a third of a millisecond each, so that any number of wheels cannot hold up a
    # revision. Beyond it a note keeps the last timbre it had, which is a frame's bend behind.
    BENT_PER_FRAME = 8

    def __init__(self, prior: NotePrior, noise: Tensor | None = None) -> None:
        self.config = c = prior.config
        self.timbres = TimbreCache(prior, self.KEPT)
        self._constants = Constants(
            envelope=self.timbres.envelope,
            detail_ages_s=np.array(DETAIL_AGES_S, np.float32),
            beats=np.exp(2 * array(prior.beats)),
            noise=np.zeros((1, c.mel_bins), np.float32) if noise is None else array(noise),
            floor=f32(math.exp(2 * c.log_floor)),
            no_guide=GuideBin(*np.array(NO_GUIDE, np.float32)),
        )

    def __call__(self, x: NoteFeatures, rows: Tensor | None = None) -> Heard:
        """What one part's notes are together.

        Args:
            x: N notes in F frames, on the CPU.
            rows: (N, F) of the noise, which each note has in each frame; None: the first.
        """
        bins, (count, frames) = self.config.mel_bins, x.active.shape
        notes = NotesInFrames(
            self.timbres.rows(x, self.BENT_PER_FRAME * frames),
            x.active.numpy(),
            np.zeros((count, frames), np.int64) if rows is None else rows.numpy(),
            *(values.numpy() for values in x.over_time),
        )
        heard = HeardArrays(*(np.empty((frames, bins, *size), np.float32) for size in ((), (), (len(NO_GUIDE),))))
        hear(self._constants, self.timbres.table, notes, heard)
        return Heard(*(torch.from_numpy(values) for values in heard))
