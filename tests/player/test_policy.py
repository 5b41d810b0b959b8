"""Decisions, each at moments that differ in one thing."""

import math
from typing import Any

import pytest

from specdiffd.base.sizes import SIZES
from specdiffd.player import policy
from specdiffd.player.policy import Moment, Pace
from specdiffd.player.settings import EngineSettings

RATE = 48000
UNTIMED = Pace()  # nothing has been rendered yet


def moment(pace: Pace = UNTIMED, waiting_s: float = math.inf, timed: bool = True, ahead_s: float = 1.0, **changes: Any) -> Moment:
    """One second after the start, a second after the last revision; a splice may begin at once."""
    return Moment(EngineSettings(**changes), pace, waiting_s, 0, RATE, round((1 + ahead_s) * RATE), RATE, timed)


def test_the_pace_follows_slowly() -> None:
    pace = Pace(0.01, 0.02).after_revision(0.02).after_finishing(0.0)
    assert pace == pytest.approx((0.011, 0.018))


def test_what_is_spare_is_the_time_until_the_onset_less_what_a_revision_takes() -> None:
    margins = 48 + 48  # before the onset, and the shortest fade
    assert policy.spare_samples(moment(), 1.1) == 0.1 * RATE - margins
    assert policy.spare_samples(moment(Pace(0.04)), 1.1) == pytest.approx(0.05 * RATE - margins)
    assert policy.spare_samples(moment(Pace(0.04), timed=False), 1.1) == 0.1 * RATE - margins
    assert policy.spare_samples(moment(), 0.9) < 0


def test_an_eager_engine_revises_at_once_and_a_sequencer_s_when_it_must() -> None:
    assert not policy.is_due(moment())
    assert policy.is_due(moment(waiting_s=1.2))
    assert not policy.is_due(moment(waiting_s=1.2, eager=False))
    assert policy.is_due(moment(waiting_s=1.2, eager=False, lead_samples=RATE // 5))
    assert policy.is_due(moment(waiting_s=1.01, eager=False))


def test_a_revision_begins_again_only_while_it_has_just_begun_and_there_is_time() -> None:
    assert policy.begins_again(moment(waiting_s=1.1), 1.1, stages_done=1)
    assert not policy.begins_again(moment(waiting_s=1.1), 1.1, stages_done=2)
    assert not policy.begins_again(moment(waiting_s=1.1), 1.01, stages_done=1)


def test_an_event_overtakes_a_draft_that_it_cannot_wait_for_unless_known_frames_fall_behind() -> None:
    slow = moment(Pace(0.0, 0.08), waiting_s=1.05)
    assert policy.overtakes(slow, drafted_for_s=0.0, frames_behind=4)
    assert not policy.overtakes(slow, drafted_for_s=0.0, frames_behind=5)
    assert not policy.overtakes(slow, drafted_for_s=0.07, frames_behind=4)  # it is nearly finished


def test_a_draft_is_kept_where_finishing_takes_too_long() -> None:
    assert not policy.keeps_draft(moment(), unprepared_frames=SIZES.unprepared_frames - 1)
    assert policy.keeps_draft(moment(), unprepared_frames=SIZES.unprepared_frames)
    short = {"ahead_s": 0.1, "pace": Pace(0.04, 0.06)}
    assert policy.keeps_draft(moment(waiting_s=1.1, **short), 0)
    assert not policy.keeps_draft(moment(**short), 0)  # nothing waits
    assert not policy.keeps_draft(moment(waiting_s=1.1, timed=False, **short), 0)


def test_a_revision_is_longer_where_finishing_takes_longer() -> None:
    assert policy.revision_frames(moment(), 0) == policy.revision_frames(moment(), -3) == 10
    assert policy.revision_frames(moment(), 2) == 12
    assert policy.revision_frames(moment(Pace(0.03, 0.03)), 2) == 14


def test_the_forecast_is_shorter_amid_dense_playing() -> None:
    now = moment()
    dense = now._replace(revised_at=now.playhead)
    assert not policy.forecast_is_long_enough(now, 1.9)
    assert policy.forecast_is_long_enough(now, 2.0)
    assert policy.forecast_is_long_enough(dense, 0.25)
    assert not policy.forecast_is_long_enough(dense, 0.24)


def test_where_forecast_is_scarce_nothing_is_prepared_and_a_slice_begins_with_a_draft() -> None:
    now = moment()
    assert policy.frames_to_prepare(now, 0.08) == (10, 58)
    assert policy.frames_to_prepare(now, 0.07) == ()
    assert policy.slice_begins_with_draft(now, 0.07)
    assert not policy.slice_begins_with_draft(now, 0.08)
    assert policy.slice_begins_with_draft(moment(Pace(0.05, 0.05)), 0.19)
    assert not policy.slice_begins_with_draft(moment(drafts=False), 0.0)
