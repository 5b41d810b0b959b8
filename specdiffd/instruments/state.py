"""The built-in instrument's state between two stretches: the spectrogram so far, and everything cached on the way. All are values."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.diffusion.caches import Conditioning, DecoderState, NotesState
from specdiffd.vocoder.state import VocoderState

WINDOWS = 5  # in the state: the playing one, those of the forecast, and the next; with fewer, going back encodes them again


class Window(NamedTuple):
    """One position of the rolling window. The encodings of the context come first, then those of the tokens."""

    start: int  # absolute frame
    ids: list[list[int]]  # per part, the tokens that are encoded
    notes: NotesState
    conditioning: Conditioning
    context_frames: int
    decoder: tuple[DecoderState, ...]  # one for each step of sampling

    @property
    def frames(self) -> int:
        """How many of its frames are in the decoder's cache."""
        return self.decoder[0].frames


class StreamState(NamedTuple):
    """The spectrogram so far, and the caches derived from it."""

    origin: int  # where the sound began after silence: the first window starts here
    first_frame: int  # of mel and prior
    mel: Tensor  # (B, frames, mel) natural log
    prior: Tensor  # (B, frames, mel) natural log
    windows: tuple[Window, ...]
    vocoder: VocoderState

    @property
    def next_frame(self) -> int:
        """The first frame after the spectrogram."""
        return self.first_frame + self.mel.shape[1]

    def window_at(self, start: int) -> Window | None:
        """The window that starts at frame ``start``, if it is kept."""
        return next((w for w in self.windows if w.start == start), None)

    def with_window(self, window: Window) -> StreamState:
        """The state with a window added or replaced. The oldest is dropped if there are more than ``WINDOWS``."""
        rest = tuple(w for w in self.windows if w.start != window.start)
        return self._replace(windows=(*rest, window)[-WINDOWS:])

    def followed_by(self, mel: Tensor, prior: Tensor) -> StreamState:
        """The state with more frames (B, F, mel), natural log."""
        return self._replace(mel=torch.cat((self.mel, mel), 1), prior=torch.cat((self.prior, prior), 1))

    def last(self, frames: int) -> StreamState:
        """The state with no more than the last ``frames`` frames."""
        drop = max(0, self.mel.shape[1] - frames)
        return self._replace(first_frame=self.first_frame + drop, mel=self.mel[:, drop:], prior=self.prior[:, drop:])

    def before(self, frame: int, vocoder: VocoderState) -> StreamState:
        """The state without frame ``frame`` and those after it.

        Args:
            vocoder: its state before ``frame``.
        """
        known = frame - self.first_frame
        windows = tuple(
            w._replace(decoder=tuple(d.first(min(d.frames, frame - w.start)) for d in w.decoder)) for w in self.windows if w.start <= frame
        )
        return self._replace(mel=self.mel[:, :known], prior=self.prior[:, :known], windows=windows, vocoder=vocoder)

    def between(self, frames: Tensor, first: int, last: int, silence: float) -> Tensor:
        """Frames ``first`` to ``last`` of ``frames`` (``mel`` or ``prior``): (B, last - first, mel), ``silence`` before the first one."""
        missing = max(0, min(last, self.first_frame) - first)
        there = frames[:, max(0, first - self.first_frame) : max(0, last - self.first_frame)]
        if not missing:
            return there
        return torch.cat((there.new_full((len(frames), missing, frames.shape[2]), silence), there), 1)
