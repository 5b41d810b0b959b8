"""From scores to audio in the source buffer, a stretch of frames at a time, a stage at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.formats import first_frame_at
from specdiffd.base.instrument import Instrument, Rendered
from specdiffd.dsp.reverb import to_room
from specdiffd.midi.score import Score
from specdiffd.player import policy
from specdiffd.player.forecast import Forecast
from specdiffd.player.policy import Moment
from specdiffd.player.settings import Counters, EngineSettings
from specdiffd.player.source import SourceBuffer

Work = Generator[None, None, None]  # something that may be stopped, for good or for a while, at each yield


class Stretch(NamedTuple):
    """Audio that was rendered, finished or as a draft."""

    audio: NDArray[np.float32]  # (samples, 1), dry, at the instrument's rate
    end: int  # the source sample after the last


class Renderer:
    """Renders through an instrument into a source buffer.

    Args:
        instrument: is played.
        settings: of the engine.
        counters: of the engine; drafts that are kept are counted.
        moment: says how things stand when it is called.
    """

    def __init__(self, instrument: Instrument[Any], settings: EngineSettings, counters: Counters, moment: Callable[[], Moment]) -> None:
        self._instrument, self._settings, self._counters, self._moment = instrument, settings, counters, moment
        self.source = SourceBuffer(instrument.sample_rate_hz, settings)

    def first_frame(self, sample: int) -> int:
        """The first frame that contains sound from a timeline sample on: frames before it are not changed by that."""
        return first_frame_at(sample * self._instrument.sample_rate_hz / self._settings.sample_rate_hz, self._instrument)

    def state_at(self, forecast: Forecast, first_frame: int) -> Any:
        """The instrument's state to continue from ``first_frame`` on: one of the forecast's, or a fresh one after silence."""
        state, i = forecast.go_back(self._instrument, first_frame), self._instrument
        if state is None:
            state = i.start(first_frame, len(self._settings.parts))
            self.source.silence_before((first_frame - i.lookahead_frames) * i.hop_samples)
        return state

    def stages(
        self, forecast: Forecast, scores: Sequence[Score], state: Any, frames: int, draft: bool, splice_draft: Callable[[Stretch], object]
    ) -> Generator[None, None, Stretch]:
        """Render the frames after ``state`` into the source buffer, a stage at a time; returns what is there in the end.

        That may be the draft: if it could not be finished while it lasts, the rest is done piece by piece as preparation of the next
        slice, so that an event in between costs only a piece.

        Args:
            forecast: is continued.
            scores: what is played, one a part.
            state: one that ``state_at`` returned, or the forecast's last.
            frames: how many.
            draft: whether a draft is wanted first.
            splice_draft: is called with the draft when it is in the source buffer.
        """
        performances = [score.performance for score in scores]
        unprepared_frames = self._instrument.unprepared(state, frames)
        stages = self._instrument.stages(performances, state, state.next_frame, frames, draft=draft)
        while True:
            try:
                sketch = next(stages)
            except StopIteration as stop:
                rendered, after = stop.value
                stretch = self._put(scores, rendered)
                break
            if sketch is not None:
                rendered, after = sketch
                stretch = self._put(scores, rendered)
                splice_draft(stretch)
                if policy.keeps_draft(self._moment(), unprepared_frames):
                    self._counters.kept_drafts += 1
                    break
            yield None
        forecast.go_on(self._instrument, after)
        return stretch

    def _put(self, scores: Sequence[Score], rendered: Rendered) -> Stretch:
        """Write what was rendered into the source buffer."""
        at = rendered.first_hop * self._instrument.hop_samples
        dry = rendered.audio.sum(0)[:, None]
        bus = np.concatenate((dry, self._to_room(scores, rendered, at)), 1) if self._settings.reverb else dry
        self.source.write(at, bus)
        return Stretch(dry, at + len(dry))

    def _to_room(self, scores: Sequence[Score], rendered: Rendered, at: int) -> NDArray[np.float32]:
        """What of the audio, which begins at source sample ``at``, goes to the reverberation, (samples, 1)."""
        i = self._instrument
        parts = [
            to_room(audio, score.performance, at, i.hop_samples, i.sample_rate_hz)
            for audio, score in zip(rendered.audio, scores, strict=True)
        ]
        return np.sum(parts, 0)[:, None]
