"""What the engine does next, and when: decisions as functions of one moment. Nothing is stored here and nothing is done.

An eager engine revises as soon as an event comes. A sequencer's engine waits until a revision would just be in time, and renders all events
that have come until then at once. Either way an event that comes during a revision joins it, overtakes its draft, or waits for its end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from specdiffd.base.sizes import SIZES
from specdiffd.player.settings import EngineSettings
from specdiffd.shared.timeline import Timeline

JOIN_STAGES = 1  # of a revision that may be done when it begins again for more events: more, and dense playing never finishes one
TYPICAL = 1.25  # a revision is expected to take this times the mean: less, and the usual spread makes splices late
SMOOTHING = 0.1  # weight of the newest duration in a mean: more, and one stall of the machine changes decisions for seconds
SCARCE_S = 0.08  # with less forecast a slice comes as a draft first: a whole slice with a new window may take as long
OUTLASTS = 2.0  # the forecast should last this times what rendering takes: less, and it ends while the next slice is made
REVISION_LASTS_S = 0.1  # about what a revision of ``urgent_frames`` leaves of forecast: where that must last longer, a revision is longer
# During dense playing more forecast is made only to be replaced, and takes the processor from the musician's other programs.
BUSY_FORECAST_S = 0.25
CALM_S = 0.15  # since the last revision: playing is dense until then


class Pace(NamedTuple):
    """How long rendering has taken lately: running means in seconds of real time."""

    revision_s: float = 0.0  # from the beginning of a revision to its first splice
    finishing_s: float = 0.0  # from the splice of a draft to that of the finished audio

    def after_revision(self, took_s: float) -> Pace:
        """One more revision had its first splice."""
        return self._replace(revision_s=self.revision_s + SMOOTHING * (took_s - self.revision_s))

    def after_finishing(self, took_s: float) -> Pace:
        """One more draft was finished."""
        return self._replace(finishing_s=self.finishing_s + SMOOTHING * (took_s - self.finishing_s))


class Moment(NamedTuple):
    """Everything that a decision is made from. Positions are timeline samples."""

    settings: EngineSettings
    pace: Pace
    waiting_s: float  # the earliest event that no revision has taken up, in seconds on the timeline; infinite: there is none
    revised_at: int  # playhead at the last revision
    playhead: int
    valid_until: int  # end of the forecast
    safe_from: int  # the first sample where a splice may begin
    timed: bool  # the timeline has a clock; without one, durations say nothing about how much is played meanwhile

    @classmethod
    def now(cls, timeline: Timeline, settings: EngineSettings, pace: Pace, waiting_s: float, revised_at: int) -> Moment:
        """As the timeline is now."""
        safe_from = timeline.safe_from(settings.block_samples, settings.guard_samples)
        timed = timeline.clock() is not None
        return cls(settings, pace, waiting_s, revised_at, timeline.playhead, timeline.valid_until, safe_from, timed)

    @property
    def events_wait(self) -> bool:
        """There are events that no revision has taken up."""
        return math.isfinite(self.waiting_s)


# -- revisions ---------------------------------------------------------------------------------------------------


def fade_end_samples(settings: EngineSettings, event_s: float) -> int:
    """The timeline sample where the splice for an event ends if it is in time: shortly before the event's onset."""
    return round(event_s * settings.sample_rate_hz) - settings.before_onset_samples


def spare_samples(now: Moment, event_s: float) -> float:
    """What will be left over if a revision for an event at ``event_s`` begins now and takes as long as expected; negative: it is late."""
    s = now.settings
    takes_s = TYPICAL * now.pace.revision_s if now.timed else 0.0
    return fade_end_samples(s, event_s) - s.least_fade_samples - now.safe_from - takes_s * s.sample_rate_hz


def is_due(now: Moment) -> bool:
    """Whether the revision for the waiting events begins now."""
    if not now.events_wait:
        return False
    return now.settings.eager or spare_samples(now, now.waiting_s) < now.settings.reserve_samples + now.settings.lead_samples


def begins_again(now: Moment, revised_s: float, stages_done: int) -> bool:
    """Whether a revision that is not heard yet begins again, to take in the waiting events.

    Args:
        now: the moment.
        revised_s: the earliest event of the revision.
        stages_done: of the revision.
    """
    return stages_done <= JOIN_STAGES and spare_samples(now, min(now.waiting_s, revised_s)) >= now.settings.reserve_samples


def overtakes(now: Moment, drafted_for_s: float, frames_behind: int) -> bool:
    """Whether the waiting events interrupt a revision that is heard as a draft: they could not wait until it is finished.

    Args:
        now: the moment.
        drafted_for_s: time since the draft was spliced in.
        frames_behind: how far known frames have fallen behind what can still be changed. Too far, and no event interrupts: drafts
            must be finished however fast events come.
    """
    s = now.settings
    finishing_samples = max(0.0, now.pace.finishing_s - drafted_for_s) * s.sample_rate_hz
    in_reach = frames_behind + s.urgent_frames <= s.most_frames
    return in_reach and spare_samples(now, now.waiting_s) < s.reserve_samples + finishing_samples


def revision_frames(now: Moment, frames_before: int) -> int:
    """How many frames a revision renders; more on a machine that takes long to finish them.

    Args:
        now: the moment.
        frames_before: between the state that it continues and its splice.
    """
    frames = max(0, frames_before) + now.settings.urgent_frames
    return max(frames, now.settings.most_frames) if lasting_s(now) > REVISION_LASTS_S else frames


def keeps_draft(now: Moment, unprepared_frames: int) -> bool:
    """Whether a draft is left unfinished: too many known frames must be read first, or the forecast would end before that.

    Args:
        now: just after the draft was spliced in.
        unprepared_frames: that finishing it must read first.
    """
    return unprepared_frames >= SIZES.unprepared_frames or _would_run_dry(now)


def _would_run_dry(now: Moment) -> bool:
    """Whether the forecast ends before the draft could be finished and the waiting events' revision spliced in."""
    ahead_s = (now.valid_until - now.playhead) / now.settings.sample_rate_hz
    return now.timed and now.events_wait and ahead_s < now.pace.finishing_s + TYPICAL * now.pace.revision_s


# -- forecast ----------------------------------------------------------------------------------------------------


def lasting_s(now: Moment) -> float:
    """How much forecast there should be when a revision or a slice begins; more on a slower machine."""
    return OUTLASTS * (now.pace.revision_s + now.pace.finishing_s) if now.timed else 0.0


def frames_to_prepare(now: Moment, ahead_s: float) -> tuple[int, ...]:
    """For how many next frames windows are prepared, most urgent first: those of the next slice, then those of the slices after it."""
    s = now.settings
    return () if ahead_s < SCARCE_S else (s.slice_frames, s.slice_frames + s.prepared_frames)


def forecast_is_long_enough(now: Moment, ahead_s: float) -> bool:
    """Whether no slice is needed now, with ``ahead_s`` of forecast."""
    s = now.settings
    calm = now.playhead - now.revised_at > CALM_S * s.sample_rate_hz
    return ahead_s >= (s.forecast_s if calm else min(s.forecast_s, BUSY_FORECAST_S))


def slice_begins_with_draft(now: Moment, ahead_s: float) -> bool:
    """Whether the forecast may end before a slice is finished."""
    return now.settings.drafts and ahead_s < max(SCARCE_S, lasting_s(now))
