"""The interface of instruments: score in, audio out, a stretch of frames at a time.

An instrument can go back to an earlier state and render another continuation. Its work is done by generators, one stage at a time, so that
the caller can stop between stages.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.events import Performance
from specdiffd.base.metrics import Stopwatch

if TYPE_CHECKING:  # users of the protocol must not have to load torch
    from torch import Tensor

S = TypeVar("S")
T = TypeVar("T")


class Rendered(NamedTuple):
    """Audio of consecutive hops."""

    audio: NDArray[np.float32]  # (parts, hops * hop_samples) at the instrument's rate
    first_hop: int  # absolute: the audio begins at sample first_hop * hop_samples
    mel: Tensor | None = None  # (parts, frames, mel_bins) natural log, of the requested frames


class Instrument(Protocol[S]):
    """An instrument as the engine uses it. States are values: an older one stays valid."""

    sample_rate_hz: int
    hop_samples: int
    window_samples: int
    lookahead_frames: int  # the audio of hop i is finished by frame i + lookahead
    window_frames: int
    ring_s: float  # how long after its end a note may still be heard
    stopwatch: Stopwatch

    @property
    def without_graph(self) -> int:
        """How many calls of networks had a size that no graph was made for; such calls are slow."""

    def warm_up(self, report: Callable[[str], object] = lambda what: None) -> None:
        """Do what is slow the first time. ``report`` is called before each piece of it, with its name."""

    def start(self, frame: int, parts: int) -> S:
        """The state before the absolute frame ``frame``, after silence."""

    def with_caches(self, state: S, newer: S) -> S:
        """``state`` with the caches of ``newer``, which continues it, so that going back does not lose them."""

    def without_caches(self, state: S) -> S:
        """``state`` without the caches that ``with_caches`` can give back to it."""

    def rewind(self, state: S, frame: int) -> S:
        """The state as it was before ``frame``, with the caches of ``state``."""

    def prepare(self, performances: Sequence[Performance], state: S, frames: int) -> Preparation[S] | None:
        """One piece of preparation for rendering the next ``frames``, in stages; None when everything is prepared."""

    def unprepared(self, state: S, frames: int) -> int:
        """How many known frames would have to be computed again before the next ``frames`` can be rendered."""

    def stages(self, performances: Sequence[Performance], state: S, first_frame: int, frames: int, draft: bool = False) -> Stages[S]:
        """Render ``frames`` frames from ``first_frame`` on. Frames that ``state`` already has from there on are replaced.

        A stage takes a few milliseconds, and the caller may stop after any of them. The audio has as many hops as there are frames,
        from hop ``first_frame - lookahead_frames`` on.

        Args:
            performances: one for each part, with times in seconds on the absolute frame axis (frame i begins at sample i * hop_samples).
            draft: an instrument that has a draft of the same audio sooner yields it, with the state to go on from if the caller stops there.
        """


Stages = Generator[tuple[Rendered, S] | None, None, tuple[Rendered, S]]
Preparation = Generator[None, None, S]


def finish(stages: Generator[Any, None, T]) -> T:
    """Run a generator to its end; returns what it returns and ignores what it yields."""
    while True:
        try:
            next(stages)
        except StopIteration as stop:
            found: T = stop.value
            return found


def render(instrument: Instrument[S], performances: Sequence[Performance], state: S, first_frame: int, frames: int) -> tuple[Rendered, S]:
    """Run all stages of :meth:`Instrument.stages`; returns the audio and the state after it."""
    return finish(instrument.stages(performances, state, first_frame, frames))


@dataclass(frozen=True)
class RenderSettings:
    """Settings of an instrument that need no other checkpoint."""

    steps: int | None = None  # of the sampler; None: as many as the instrument was made for
    seed: int = 0
    noise: float = 1.0  # factor on the flow's starting noise and on the texture
    use_context: bool = True
    use_decoder: bool = True
    scheduler: str | None = None  # None: the checkpoint's
    guidance: float = 1.0  # weight of classifier-free guidance; 1: none
