"""Rendered pieces in memory, renewed while training runs, and random crops of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from specdiffd.base.events import Event, Performance
from specdiffd.midi.score import Score
from specdiffd.reference.fluid import FluidRenderer
from specdiffd.reference.parts import Rng
from specdiffd.reference.pieces import random_piece

log = logging.getLogger(__name__)
RENDER_RATE_HZ = 48000


@dataclass(frozen=True)
class Piece:
    """Events, the score they make, and FluidSynth's audio of them at the instrument's rate (samples,).

    In half the bits, rounding errors of loud sounds were up to 5 nepers over what soft partials have above 14 kHz.
    """

    events: Sequence[Event]
    performance: Performance
    audio: NDArray[np.float32]


class PieceBank:
    """Rendered pieces, the first of which are always the same; a thread replaces the oldest, one at a time, for as long as the bank is open.

    Args:
        songs: MIDI files to draw songs from; empty: generated music only.
        sample_rate_hz: of the audio kept.
        pieces: how many to hold.
        duration_s: of each.
        soundfonts: one is drawn for each piece.
        compose: makes a piece of songs and a duration.
        rest_s: from one new piece to the next.
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
        self._songs, self._rate, self._duration_s = songs, sample_rate_hz, duration_s
        self._rng = np.random.default_rng(0)
        self._renderers = [FluidRenderer(name, RENDER_RATE_HZ) for name in soundfonts]
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

    def check(self) -> None:
        """Raise what stopped the renewing thread, if anything did."""
        if self._thread_error is not None:
            raise self._thread_error

    def _render(self) -> Piece:
        events = self._compose(self._rng, self._songs, self._duration_s)
        renderer = self._renderers[int(self._rng.integers(len(self._renderers)))]
        audio = renderer.render(events, self._duration_s)
        if self._rate != RENDER_RATE_HZ:
            audio = soxr.resample(audio, RENDER_RATE_HZ, self._rate, quality="HQ")
        return Piece(events, Score().extend(events).performance, audio)

    def _renew(self) -> None:
        try:
            while not self._stop.wait(self._rest_s):
                self.pieces[self._next] = self._render()
                self._next = (self._next + 1) % len(self.pieces)
        except BaseException as error:  # raised again by check() in the training thread
            self._thread_error = error
