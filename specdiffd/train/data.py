"""Rendered pieces in memory, renewed while training runs, and random excerpts of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specdiffd.base.events import Event, Performance
from specdiffd.base.formats import MelFormat
from specdiffd.dsp.mel import log_mel
from specdiffd.midi.score import Score
from specdiffd.prior.config import PriorConfig
from specdiffd.prior.note_features import NoteFeatures, note_features
from specdiffd.reference.fluid import FluidRenderer
from specdiffd.reference.parts import Rng
from specdiffd.reference.pieces import random_piece

log = logging.getLogger(__name__)
MOST_ROWS = 600  # of features; denser excerpts are left out, since they take too much memory


@dataclass(frozen=True)
class Piece:
    """Events, their score, and how FluidSynth plays them."""

    events: Sequence[Event]
    performance: Performance
    # (samples,) at the instrument's rate. As float16, rounding errors of loud sounds were up to 5 nepers above soft partials beyond 14 kHz.
    audio: NDArray[np.float32]


class PieceBank:
    """Rendered pieces. While the bank is open, a thread replaces the oldest one, again and again. The first pieces are always the same.

    Args:
        songs: MIDI files to draw songs from; empty: generated music only.
        sample_rate_hz: of the audio kept.
        pieces: how many to hold.
        duration_s: of each.
        soundfonts: one is drawn for each piece.
        compose: makes a piece from songs and a duration.
        rest_s: pause before each new piece.
    """

    def __init__(
        self,
        songs: Sequence[Path],
        sample_rate_hz: int,
        pieces: int = 200,
        duration_s: float = 30.0,
        soundfonts: Sequence[str] = ("fluid",),
        compose: Callable[[Rng, Sequence[Path], float], list[Event]] = random_piece,
        rest_s: float = 2.0,
    ) -> None:
        self._compose, self._rest_s = compose, rest_s
        self._songs, self._rate_hz, self._duration_s = songs, sample_rate_hz, duration_s
        self._rng = np.random.default_rng(0)
        self._renderers = [FluidRenderer(name) for name in soundfonts]
        self._next, self._stop = 0, threading.Event()
        self.pieces = [self._render() for _ in range(pieces)]
        self._renewer = threading.Thread(target=self._renew, name="piece-bank", daemon=True)
        self._thread_error: BaseException | None = None

    def __enter__(self) -> PieceBank:
        self._renewer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._renewer.join(timeout=30)

    def draw(self, rng: Rng) -> Piece:
        """One of the pieces, at random.

        Raises:
            BaseException: what stopped the thread that renews the pieces, if anything did.
        """
        if self._thread_error is not None:
            raise self._thread_error
        return self.pieces[int(rng.integers(len(self.pieces)))]

    def _render(self) -> Piece:
        events = self._compose(self._rng, self._songs, self._duration_s)
        renderer = self._renderers[int(self._rng.integers(len(self._renderers)))]
        audio = renderer.render_at(self._rate_hz, events, self._duration_s)
        return Piece(events, Score().extend(events).performance, audio)

    def _renew(self) -> None:
        try:
            while not self._stop.wait(self._rest_s):
                self.pieces[self._next] = self._render()
                self._next = (self._next + 1) % len(self.pieces)
        except BaseException as error:  # raised again by draw() in the training thread
            self._thread_error = error


class Excerpt(NamedTuple):
    """Consecutive frames of a piece, and what the note prior reads of them."""

    piece: Piece
    first_frame: int
    features: NoteFeatures


def draw_excerpt(bank: PieceBank, fmt: MelFormat, config: PriorConfig, frames: int, lead_frames: int, rng: Rng) -> Excerpt:
    """A random excerpt of ``frames`` with at least one note in it. It may begin up to ``lead_frames`` before its piece."""
    while True:
        piece = bank.draw(rng)
        first = int(rng.integers(-lead_frames, len(piece.audio) // fmt.hop_samples - frames))
        features = note_features(piece.performance, fmt.starts_s(first, frames), config.window_s, config.ring_s)
        if 0 < len(features.key) < MOST_ROWS:
            return Excerpt(piece, first, features)


def piece_mel(piece: Piece, fmt: MelFormat, first_frame: int, frames: int) -> Tensor:
    """Log mel (frames, mel) of a piece's audio from ``first_frame`` on; silence around the piece."""
    hop = fmt.hop_samples
    first, last = first_frame * hop, (first_frame + frames - 1) * hop + fmt.window_samples
    audio = np.zeros(last - first, np.float32)
    inside = piece.audio[max(0, first) : max(0, last)]
    audio[max(0, -first) : max(0, -first) + len(inside)] = inside
    return log_mel(torch.from_numpy(audio), fmt)[:frames]
