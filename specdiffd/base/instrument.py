"""What whoever plays needs to know of an instrument: score in, audio out, a stretch of frames at a time.

An instrument can go back and take another continuation, and its work is generators, stage by stage: whoever runs them may stop in between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.events import Performance
from specdiffd.base.metrics import Stopwatch

if TYPE_CHECKING:  # the protocol's users need not load it
    from torch import Tensor

S = TypeVar("S")
T = TypeVar("T")


class Rendered(NamedTuple):
    """Audio of consecutive hops."""

    audio: NDArray[np.float32]  # (parts, hops * hop_samples) at the instrument's rate
    first_hop: int  # absolute: the audio begins at sample first_hop * hop_samples
    mel: Tensor | None = None  # (parts, frames, mel_bins) natural log, of the frames that were asked for


class Instrument(Protocol[S]):
    """What the engine needs to know of an instrument. States are values: an older one stays valid."""

    sample_rate_hz: int
    hop_samples: int
    window_samples: int
    lookahead_frames: int  # the audio of hop i is finished by frame i + lookahead
    window_frames: int
    ring_s: float  # how long after its end a note may still be heard
    stopwatch: Stopwatch

    @property
    def without_graph(self) -> int:
        """How many calls of networks no graph was made for: they are slow."""

    def warm_up(self, report: Callable[[str], object] = lambda what: None) -> None:
        """Do what is slow the first time; ``report`` is called with each piece of that, before it is begun."""

    def start(self, frame: int, parts: int) -> S:
        """The state before absolute frame ``frame``, after silence."""

    def with_caches(self, state: S, newer: S) -> S:
        """``state`` with what was computed on the way to ``newer``, which continues it: going back need not lose it."""

    def without_caches(self, state: S) -> S:
        """``state`` with nothing that ``with_caches`` can give back to it."""

    def rewind(self, state: S, frame: int) -> S:
        """The state as it was before ``frame``, what was computed on the way included."""

    def prepare(self, performances: Sequence[Performance], state: S, frames: int) -> Preparation[S] | None:
        """A little of what rendering the next ``frames`` will need besides, in stages; None when there is nothing left to do."""

    def unprepared(self, state: S, frames: int) -> int:
        """How many known frames rendering the next ``frames`` must go through first."""

    def stages(self, performances: Sequence[Performance], state: S, first_frame: int, frames: int, draft: bool = False) -> Stages[S]:
        """Render frames ``first_frame`` and on; those that ``state`` already has from there on are replaced.

        A stage takes a few milliseconds: whoever waits for something else may stop between. With ``draft``, an instrument that
        can have the same audio sooner, less well made, yields it on the way, with the state that goes on from it if nobody waits for more.
        Times of the performances are seconds on the absolute frame axis (frame i begins at i * hop_samples samples).
        The audio is that of hops ``first_frame - lookahead_frames`` and on, as many as frames.
        """


Stages = Generator[tuple[Rendered, S] | None, None, tuple[Rendered, S]]
Preparation = Generator[None, None, S]


def finish(stages: Generator[Any, None, T]) -> T:
    """What a generator returns, whatever it yields on the way."""
    while True:
        try:
            next(stages)
        except StopIteration as stop:
            found: T = stop.value
            return found


def render(instrument: Instrument[S], performances: Sequence[Performance], state: S, first_frame: int, frames: int) -> tuple[Rendered, S]:
    """All stages of :meth:`Instrument.stages`, one after the other."""
    return finish(instrument.stages(performances, state, first_frame, frames))


@dataclass(frozen=True)
class RenderSettings:
    """What a player may change without another checkpoint."""

    steps: int | None = None  # None: as many as the instrument was made for
    seed: int = 0
    noise: float = 1.0  # factor on the flow's starting noise and on the texture
    use_context: bool = True
    use_decoder: bool = True
    scheduler: str | None = None  # None: the checkpoint's
    guidance: float = 1.0  # weight of classifier-free guidance; 1: none
