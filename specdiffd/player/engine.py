"""The page to read first: from notes to sound. Notes -> revision -> splice.

The timeline always holds a forecast: audio of the future, rendered as if nothing more were played. An event makes a revision: the frames
from the event on are rendered again and spliced in, a short urgent stretch first. The rest of the forecast follows in slices, which the next
event interrupts. The engine knows no clock but the timeline's, so that it runs the same live, on a virtual clock in tests, and offline.

The musician waits only for the first splice of a revision. So an instrument that can make a draft makes one first. It is spliced in at
once, and the finished audio replaces what of it has not been heard yet.

What is done when is decided in ``policy``; ``rendering`` turns scores into audio, ``splicer`` puts that into the timeline, and ``forecast``
keeps the states to go back to.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from specdiffd.base.events import Event
from specdiffd.base.instrument import Instrument
from specdiffd.midi.score import Score
from specdiffd.midi.voices import KEPT_NOTES
from specdiffd.player import policy, ringing
from specdiffd.player.forecast import Forecast
from specdiffd.player.policy import Moment, Pace
from specdiffd.player.rendering import Renderer, Stretch, Work
from specdiffd.player.revision import Revision
from specdiffd.player.settings import Counters, EngineSettings
from specdiffd.player.slices import Slices
from specdiffd.player.splicer import Splicer
from specdiffd.shared.timeline import Timeline

log = logging.getLogger(__name__)


class Engine:
    """Plays events into a timeline through an instrument. Not thread-safe: one thread owns it.

    Attributes:
        instrument, timeline, settings: as they were given.
        scores: what was played, one a part.
        counters: what has happened.
        took_s: how long the last revision took until its first splice.
        slack_samples: how much later that splice could have come; negative: it was late.
    """

    def __init__(self, instrument: Instrument[Any], timeline: Timeline, settings: EngineSettings) -> None:
        self.instrument, self.timeline, self.settings = instrument, timeline, settings
        self.scores = [Score(KEPT_NOTES) for _ in settings.parts]
        self.counters = Counters()
        self.took_s, self.slack_samples = 0.0, 0
        self._pace = Pace()
        self._waiting_s = math.inf  # the earliest event that no revision has taken up
        self._revised_at = 0  # playhead at the last revision
        self._forecast: Forecast | None = None
        self._revision: Revision | None = None  # in hand, between two of its stages
        self._renderer = Renderer(instrument, settings, self.counters, self._moment)
        self._splicer = Splicer(timeline, settings, self._renderer.source, instrument.stopwatch)
        self._slices = Slices(instrument, timeline, settings, self.counters, self._renderer, self._splicer)

    # -- notes ---------------------------------------------------------------------------------------------------

    def play(self, event: Event) -> None:
        """Take an event, whose time is in seconds on the timeline, render delay included; the next ``work`` renders it."""
        self.counters.events += 1
        to_all = event.status >= 0xF0
        changes = [
            score.apply(event)
            for score, channels in zip(self.scores, self.settings.parts, strict=True)
            if to_all or event.channel in channels
        ]
        if any(changes):
            self._waiting_s = min(self._waiting_s, event.time_s)

    def discard(self, since_s: float) -> None:
        """Never play the notes that began at or after ``since_s`` and have ended: nobody could hear them."""
        for score in self.scores:
            score.discard(since_s)

    def forget(self) -> None:
        """Drop what no window contains any more; to be called now and then, in silence too."""
        for score in self.scores:
            ringing.forget(score, self.instrument, self._now_s)

    def panic(self) -> None:
        """Nothing sounds any more, nothing waits, and nothing is in hand. The output has faded out."""
        if self._revision is not None:
            self._revision.stages.close()
        self._slices.stop()
        self._revision = self._forecast = None
        self._waiting_s = math.inf
        for score in self.scores:
            score.panic(self._now_s)
        self.timeline.publish(self.timeline.playhead, silent=True)

    def resume(self, scores: list[Score], unrendered_s: float) -> None:
        """Take over from an engine that died: what sounds goes on where the forecast that it left ends.

        Args:
            scores: that engine's.
            unrendered_s: that engine's; from there on the forecast does not match the scores.
        """
        self.scores = scores
        solid_until = self.timeline.valid_until - self.settings.end_fade_samples
        if not self._anything_sounds(self._now_s):
            self.timeline.publish(self.timeline.valid_until, silent=True)
        elif not self.timeline.silent or math.isfinite(unrendered_s):
            self._waiting_s = max(self._now_s, min(unrendered_s, solid_until / self.settings.sample_rate_hz))

    # -- what to do next -----------------------------------------------------------------------------------------

    def work(self) -> bool:
        """One stage of a revision, or of a slice of forecast; False when there is nothing to do.

        Waiting events join a revision that has only just begun, which begins again, if it will still be in time. If it is heard already as
        a draft, they interrupt it, unless there is time to wait until it is finished.
        """
        revision = self._revision
        if revision is None:
            if not self._due:
                return self._extend()
            revision = self._begin(self._waiting_s, self._waiting_s)
        elif self._interrupts(revision):
            revision = self._begin_again(revision)
        try:
            next(revision.stages)
            revision.stages_done += 1
        except StopIteration:
            self._revision = None
            if revision.spliced_s is not None:
                self._pace = self._pace.after_finishing(time.perf_counter() - revision.spliced_s)
        return True

    @property
    def waiting(self) -> bool:
        """Events wait for a revision."""
        return math.isfinite(self._waiting_s)

    @property
    def urgent(self) -> bool:
        """A revision is in hand, or is due."""
        return self._revision is not None or self._due

    @property
    def asleep(self) -> bool:
        """Nothing sounds and nothing is computed."""
        return self._forecast is None

    @property
    def unrendered_s(self) -> float:
        """The earliest event that is in the timeline as a draft at most; infinite: there is none."""
        return min(self._waiting_s, self._revision.unfinished_s if self._revision else math.inf)

    @property
    def _due(self) -> bool:
        return policy.is_due(self._moment())

    def _interrupts(self, revision: Revision) -> bool:
        """Whether waiting events end a revision, which begins again or is left as a draft."""
        if not self.waiting:
            return False
        if revision.spliced_s is None:
            return policy.begins_again(self._moment(), revision.changed_s, revision.stages_done)
        moment, drafted_for_s = self._moment(), time.perf_counter() - revision.spliced_s
        frames_behind = self._renderer.first_frame(moment.safe_from) - revision.base.next_frame
        return policy.overtakes(moment, drafted_for_s, frames_behind)

    def _extend(self) -> bool:
        """A stage of the rest of the forecast; once that has been heard to its silent end, there is none."""
        if self._forecast is not None and self.timeline.at_rest and not self._slices.in_hand:
            self._forecast = None
        return self._forecast is not None and self._slices.work(self._forecast, self.scores, self._moment())

    def _moment(self) -> Moment:
        return Moment.now(self.timeline, self.settings, self._pace, self._waiting_s, self._revised_at)

    @property
    def _now_s(self) -> float:
        return self.timeline.playhead / self.settings.sample_rate_hz

    # -- revision ------------------------------------------------------------------------------------------------

    def _begin(self, changed_s: float, unfinished_s: float) -> Revision:
        """A revision of everything that waits."""
        self._revision = revision = Revision(changed_s, unfinished_s)
        self._waiting_s = math.inf
        self._slices.stop()  # the slice in hand does not know the events
        revision.stages = self._revise(revision)
        self.instrument.stopwatch.start()
        return revision

    def _begin_again(self, revision: Revision) -> Revision:
        """Another revision in place of one in hand, of its events, if they are not heard yet, and of those that wait."""
        revision.stages.close()
        if self._forecast is not None and revision.base is not None:
            self._forecast.put_back(revision.base)
        drafted = revision.spliced_s is not None
        self.counters.overtaken += drafted
        changed_s = self._waiting_s if drafted else min(self._waiting_s, revision.changed_s)
        return self._begin(changed_s, min(changed_s, revision.unfinished_s))

    def _revise(self, revision: Revision) -> Work:
        """Render what the events change, from the first frame that still can be changed; splice it in."""
        start = self._splicer.place(revision.unfinished_s).start
        if self._forecast is None and not self._anything_sounds(start / self.settings.sample_rate_hz):
            return  # a pedal or program change in silence
        forecast = self._forecast = self._forecast or Forecast()
        first_frame = self._renderer.first_frame(start)
        state = revision.base = self._renderer.state_at(forecast, first_frame)
        frames = policy.revision_frames(self._moment(), first_frame - state.next_frame)

        def splice_first(stretch: Stretch) -> None:
            self._first_splice(forecast, revision, frames, stretch.end)

        stretch = yield from self._renderer.stages(forecast, self.scores, state, frames, self.settings.drafts, splice_first)
        if revision.spliced_s is None:
            splice_first(stretch)
        else:
            self._splicer.splice(forecast, self._splicer.place_over_draft(revision.unfinished_s), stretch.end)

    def _first_splice(self, forecast: Forecast, revision: Revision, frames: int, source_end: int) -> None:
        """What the events change comes into the timeline; the musician has waited for this."""
        s = self.settings
        earliest = self._splicer.splice(forecast, self._splicer.place(revision.changed_s), source_end)
        self.slack_samples = policy.fade_end_samples(s, revision.changed_s) - s.least_fade_samples - earliest
        self.counters.revisions += 1
        self.counters.late_splices += self.slack_samples < 0
        self._revised_at = self.timeline.playhead
        revision.spliced_s = time.perf_counter()
        self.took_s = revision.spliced_s - revision.begun_s
        self._pace = self._pace.after_revision(self.took_s)
        log.debug(
            "revision for %.3f s, %d frames: took %.1f ms (%s), slack %.1f ms",
            revision.changed_s,
            frames,
            1e3 * self.took_s,
            self.instrument.stopwatch,
            1e3 * self.slack_samples / s.sample_rate_hz,
        )

    def _anything_sounds(self, from_s: float) -> bool:
        return ringing.anything_sounds([score.performance for score in self.scores], from_s, self.instrument.ring_s)
