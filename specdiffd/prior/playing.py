"""The note prior for playing: the same as `NotePrior`, as compiled loops over the sounding notes, with texture and the vocoder's guide.

Ten frames of a few notes are little arithmetic in many small steps. As operations on tensors they took four times as long, most of it for
calls, padding and copies.
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
    """What the prior makes of a score, in F frames."""

    mel: Tensor  # (F, mel) natural log
    texture: Tensor  # (F, mel) noise to add, in nepers, with the notes' roughness as its deviation; 0 without noise
    guide: Tensor  # (F, mel, 5) for the vocoder, as `formats.GuideBin`


class PlayedPrior:
    """A `NotePrior` compiled for playing, on the CPU.

    It also makes the guide, a `formats.GuideBin` for every frame and bin: what the score says of low and close notes and of onsets, and a
    mel spectrogram cannot show. It is ``NO_GUIDE`` where nothing sounds.

    Args:
        prior: its weights are copied.
        noise: (rows, mel) of variance 1, for the texture; None: there is no texture.
    """

    KEPT = 1024  # timbres, of 70 kB each at 160 bins
    # Limit on the timbres made for bent notes, per frame of a call. Each takes a third of a millisecond: without a limit, many pitch wheels
    # would hold up a revision. A note over the limit keeps its last timbre, whose bend is some frames old.
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
        """The sum of one part's notes.

        Args:
            x: N notes in F frames, on the CPU.
            rows: (N, F) row of the noise for each note in each frame; None: the first row.
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
