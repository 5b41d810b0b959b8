"""The rest of the forecast, in slices: each continues it by a few frames, a few milliseconds of work at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from specdiffd.base.instrument import Instrument, Preparation
from specdiffd.dsp.limiter import peak
from specdiffd.midi.score import Score
from specdiffd.player import policy, ringing
from specdiffd.player.forecast import Forecast
from specdiffd.player.policy import Moment
from specdiffd.player.rendering import Renderer, Stretch, Work
from specdiffd.player.settings import Counters, EngineSettings
from specdiffd.player.splicer import Splicer
from specdiffd.shared.timeline import Timeline

log = logging.getLogger(__name__)


class Slices:
    """Continues the forecast until it is long enough or the sound is over.

    Args:
        instrument: that ``renderer`` plays.
        timeline: that ``splicer`` writes.
        settings: of the engine.
        counters: of the engine; slices, and times that the forecast ran out, are counted.
        renderer, splicer: shared with the revisions.
    """

    def __init__(
        self,
        instrument: Instrument[Any],
        timeline: Timeline,
        settings: EngineSettings,
        counters: Counters,
        renderer: Renderer,
        splicer: Splicer,
    ) -> None:
        self._instrument, self._timeline, self._settings, self._counters = instrument, timeline, settings, counters
        self._renderer, self._splicer = renderer, splicer
        self._work: Work | None = None  # a slice, or the preparation of some, between two of its stages

    @property
    def in_hand(self) -> bool:
        """A slice has been begun and is not finished."""
        return self._work is not None

    def stop(self) -> None:
        """Drop the slice in hand."""
        if self._work is not None:
            self._work.close()
            self._work = None

    def work(self, forecast: Forecast, scores: Sequence[Score], now: Moment) -> bool:
        """One stage of the slice in hand, or the choice of the next; False when there is nothing to do."""
        if self._work is None:
            self._work = None if self._timeline.silent else self._next(forecast, scores, now)
            return self._work is not None
        try:
            next(self._work)
        except StopIteration:
            self._work = None
        return True

    def _next(self, forecast: Forecast, scores: Sequence[Score], now: Moment) -> Work | None:
        """The preparation of slices, if there is time for it; else a slice, if one is needed."""
        state = forecast.states[-1]
        ahead_s = (forecast.solid_until - now.playhead) / self._settings.sample_rate_hz
        performances = [score.performance for score in scores]
        for frames in policy.frames_to_prepare(now, ahead_s):
            preparation = self._instrument.prepare(performances, state, frames)
            if preparation is not None:
                return self._prepare(forecast, preparation)
        if policy.forecast_is_long_enough(now, ahead_s):
            return None
        return self._render(forecast, scores, state, policy.slice_begins_with_draft(now, ahead_s))

    @staticmethod
    def _prepare(forecast: Forecast, preparation: Preparation[Any]) -> Work:
        forecast.states[-1] = yield from preparation

    def _render(self, forecast: Forecast, scores: Sequence[Score], state: Any, draft: bool) -> Work:
        """A slice. Unless it begins with a draft, none of it is in the timeline before its last stage."""
        begin = forecast.solid_until

        def append(stretch: Stretch) -> None:
            self._append(forecast, begin, stretch.end)

        stretch = yield from self._renderer.stages(forecast, scores, state, self._settings.slice_frames, draft, append)
        yield None
        over = self._is_over(scores, stretch)
        if forecast.solid_until > begin:  # a draft is there
            self._splicer.splice(forecast, self._splicer.place_over_end_draft(begin), stretch.end)
        else:
            append(stretch)
        if over:
            self._timeline.publish(self._timeline.valid_until, silent=True)
        self._counters.slices += 1
        forecast.forget(self._renderer.first_frame(self._timeline.playhead))

    def _append(self, forecast: Forecast, begin: int, source_end: int) -> None:
        """Continue the sound from timeline sample ``begin``, where the end fade begins."""
        place = self._splicer.place_at_end(begin)
        if place.start > begin:
            self._counters.stale_fades += 1
            log.debug("the forecast ended at sample %d, it is faded in again at %d", begin, place.start)
        self._splicer.splice(forecast, place, source_end)

    def _is_over(self, scores: Sequence[Score], stretch: Stretch) -> bool:
        """Whether silence follows what was rendered."""
        until_s = stretch.end / self._instrument.sample_rate_hz
        return ringing.is_over([score.performance for score in scores], until_s, peak(stretch.audio), self._instrument.ring_s)
