"""Draft frames to refined frames: each is sampled in its window, and windows are prepared before they are needed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from torch import Tensor

from specdiffd.base.events import Performance
from specdiffd.base.instrument import Preparation, finish
from specdiffd.base.sizes import SIZES
from specdiffd.instruments.sampling import Sampler
from specdiffd.instruments.state import StreamState, Window
from specdiffd.instruments.windows import Windows
from specdiffd.tokens.window import WindowTokens


class Refiner:
    """Encodes windows and samples frames in them.

    Args:
        lap: called with the name of each piece of work after it is done.
    """

    def __init__(self, windows: Windows, sampler: Sampler, lap: Callable[[str], object]) -> None:
        self._windows, self._sampler, self._lap = windows, sampler, lap

    def refined(self, performances: Sequence[Performance], state: StreamState, prior: Tensor) -> Generator[None, None, StreamState]:
        """Sample the frames of ``prior``, which follow those of ``state``, in stages of half a step.

        A frame is the same whichever stretch it is part of, so a revision near a roll of the window continues as the forecast did.

        Args:
            performances: of each part.
            prior: (B, F, mel) natural log.

        Returns:
            the state with these frames.
        """
        end = state.next_frame + prior.shape[1]
        while (first := state.next_frame) < end:
            start = self._windows.start_of(state, first + 1)
            old = state.window_at(start)
            if old is None:
                old = yield from self._windows.empty(start, state, len(performances), self._sampler.steps)
            window = yield from self._windows.updated(old, self._tokens(performances, start))
            self._lap("encoder")
            yield
            here = min(end, start + self._windows.frames, first + SIZES.pass_frames) - first
            mel, window = yield from self._sampler.sampled(state, prior[:, :here], window)
            state = state.with_window(window).followed_by(mel, prior[:, :here])
            prior = prior[:, here:]
        return state

    def prepare(self, performances: Sequence[Performance], state: StreamState, frames: int) -> Preparation[StreamState] | None:
        """One piece of work on the window of the next ``frames`` frames: its context, a pass of tokens, or some known frames.

        Returns:
            stages that return the state with that work done; None when there is nothing left to do.
        """
        start = self._windows.start_of(state, state.next_frame + frames)
        old = state.window_at(start)
        if old is None:
            return _with_window(state, self._windows.empty(start, state, len(performances), self._sampler.steps))
        window = finish(self._windows.updated(old, self._tokens(performances, start), SIZES.pass_tokens))
        if window.notes.tokens > old.notes.tokens:
            return _with_window(state, _at_once(window))
        if self.unprepared(state, frames) < SIZES.revision_frames:
            return None
        return _with_window(state, self._sampler.remembered(state, window, SIZES.revision_frames))

    def unprepared(self, state: StreamState, frames: int) -> int:
        """How many known frames the decoder must read before it samples the next ``frames`` frames."""
        start = self._windows.start_of(state, state.next_frame + frames)
        window = state.window_at(start)
        return state.next_frame - start - (window.frames if window else 0)

    def _tokens(self, performances: Sequence[Performance], start: int) -> list[WindowTokens]:
        """The tokens of the window at frame ``start``."""
        tokens = self._windows.tokens(performances, start)
        self._lap("tokens")
        return tokens


def _with_window(state: StreamState, stages: Generator[None, None, Window]) -> Preparation[StreamState]:
    """The state with the window that ``stages`` return."""
    return state.with_window((yield from stages))


def _at_once(window: Window) -> Generator[None, None, Window]:
    """A window in no stages."""
    yield from ()
    return window
