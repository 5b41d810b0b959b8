"""Splices: where they may begin, and how rendered audio is crossfaded into the timeline."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.metrics import Stopwatch
from specdiffd.dsp.splice import crossfade, fade_out
from specdiffd.player.forecast import Forecast
from specdiffd.player.policy import fade_end_samples
from specdiffd.player.settings import EngineSettings
from specdiffd.player.source import SourceBuffer
from specdiffd.shared.sizes import CHANNELS
from specdiffd.shared.timeline import Timeline


class Place(NamedTuple):
    """Where a splice begins and where its crossfade ends, in timeline samples. If both are the same, there is no crossfade."""

    start: int
    fade_end: int


class Splicer:
    """Writes from the source buffer into the timeline, never into a block that may be read meanwhile."""

    def __init__(self, timeline: Timeline, settings: EngineSettings, source: SourceBuffer, stopwatch: Stopwatch) -> None:
        self._timeline, self._settings, self._source, self._stopwatch = timeline, settings, source, stopwatch

    def safe_from(self) -> int:
        """The first timeline sample that is not read while a splice there is written."""
        return self._timeline.safe_from(self._settings.block_samples, self._settings.guard_samples)

    def place(self, event_s: float) -> Place:
        """For what happens at ``event_s``: the crossfade ends before the onset, or as soon as possible if that is too late."""
        fade_end = fade_end_samples(self._settings, event_s)
        start = max(fade_end - self._settings.crossfade_samples, self.safe_from())
        return Place(start, max(fade_end, start + self._settings.least_fade_samples))

    def place_over_draft(self, event_s: float) -> Place:
        """For the finished audio of what is heard as a draft: once the sound has begun, a crossfade of full length."""
        place, s = self.place(event_s), self._settings
        amid_sound = place.start > fade_end_samples(s, event_s) - s.crossfade_samples
        return Place(place.start, place.start + s.crossfade_samples) if amid_sound else place

    def place_at_end(self, solid_until: int) -> Place:
        """For the continuation of the forecast: where the end fade begins, uncrossfaded; if that has been heard, faded in after it."""
        earliest = self.safe_from()
        if solid_until < earliest:
            return Place(earliest, earliest + self._settings.crossfade_samples)
        return Place(solid_until, solid_until)

    def place_over_end_draft(self, draft_start: int) -> Place:
        """For the finished audio of a continuation that is there as a draft from ``draft_start`` on."""
        start = max(draft_start, self.safe_from())
        return Place(start, start if start == draft_start else start + self._settings.crossfade_samples)

    def splice(self, forecast: Forecast, place: Place, source_end: int) -> int:
        """Write the source from ``place`` to its end at source sample ``source_end``, and end it in a fade.

        Rendering took time: a splice whose place has been read meanwhile begins later and fades faster. If all of it has been read,
        nothing is written.

        Returns:
            The timeline sample where the splice could have begun at the earliest.
        """
        s, end = self._settings, self._source.ready(source_end)
        audio = fade_out(self._source.read(place.start, end), s.end_fade_samples)
        earliest = self.safe_from()
        begin = max(place.start, earliest)
        audio = audio[begin - place.start :]
        if not len(audio):
            return earliest
        if begin > place.start or place.fade_end > place.start:
            fade = min(len(audio), max(s.least_fade_samples, place.fade_end - begin))
            audio[:fade] = crossfade(self._timeline.read(begin, fade), audio[:fade])
        forecast.solid_until = end - min(s.end_fade_samples, len(audio))
        self._replace(begin, audio)
        self._stopwatch.lap("splice")
        return earliest

    def _replace(self, begin: int, audio: NDArray[np.float32]) -> None:
        """Let ``audio`` (samples, CHANNELS) at ``begin`` be the end of the forecast."""
        timeline, end = self._timeline, begin + len(audio)
        if timeline.valid_until > end:
            timeline.publish(end, silent=False)  # the rest is stale
        gap = max(timeline.valid_until, timeline.playhead)
        if gap < begin:  # there is silence in between, where the buffer still holds old audio
            timeline.write(gap, np.zeros((begin - gap, CHANNELS), np.float32))
        timeline.write(begin, audio)
        timeline.publish(end, silent=False)
