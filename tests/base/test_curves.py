"""A controller's curve: constant between changes, of bounded detail, and what it forgets no frame can see."""

import math

import numpy as np
import pytest

from specdiffd.base.events import CURVE_STEP_S, Controllers, Curve, Event, Note, Performance


def naive(changes: list[tuple[float, float]], initial: float, at_s: float) -> float:
    """The value of the last change at or before a moment."""
    return next((value for time_s, value in reversed(changes) if time_s <= at_s), initial)


@pytest.mark.parametrize("seed", range(5))
def test_a_curve_has_the_last_change_before_a_moment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curve, changes = Curve(0.5), []
    for time_s in np.cumsum(rng.uniform(2 * CURVE_STEP_S, 0.2, 30)):  # so far apart that none replaces another
        value = float(np.float32(rng.integers(4)))
        assert curve.add(float(time_s), value) == (value != naive(changes, 0.5, math.inf))
        changes.append((float(time_s), value))
    moments = np.sort(np.concatenate((rng.uniform(-0.1, 4, (3, 25)).ravel(), [t for t, _ in changes]))).reshape(-1, 5)
    expected = np.vectorize(lambda t: naive(changes, 0.5, t))(moments)
    np.testing.assert_array_equal(curve.at(moments), expected)
    assert curve.at(moments).shape == moments.shape


@pytest.mark.parametrize("seed", range(5))
def test_forgetting_changes_nothing_from_then_on(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curve = Curve(0.0)
    for time_s in np.cumsum(rng.uniform(0, 0.05, 40)):
        curve.add(float(time_s), float(rng.integers(128)))
    moments = np.linspace(-0.5, 2.5, 301)
    before = curve.at(moments)
    for forget_s in (-1.0, 0.3, 0.3001, 0.9, 5.0):
        curve.forget(forget_s)
        np.testing.assert_array_equal(curve.at(moments)[moments >= forget_s], before[moments >= forget_s])
    assert len(curve.times_s) == 1


def test_of_changes_within_a_step_the_last_counts() -> None:
    curve = Curve(0.0)
    for k in range(2000):  # a wheel that sends a thousand values a second
        curve.add(k * 0.001, float(k))
    assert len(curve.times_s) <= 2.0 / CURVE_STEP_S + 1
    assert curve.last == 1999.0
    assert list(curve.times_s) == sorted(curve.times_s)
    found = curve.at(np.array([0.5, 1.0, 1.5]))
    assert np.abs(found - [500, 1000, 1500]).max() <= 1000 * CURVE_STEP_S


def test_a_change_that_comes_late_does_not_go_back() -> None:
    curve = Curve(0.0)
    curve.add(1.0, 5.0)
    assert curve.add(0.5, 7.0)
    assert list(curve.times_s) == [1.0]
    assert curve.at(np.array([0.99, 1.0])).tolist() == [0.0, 7.0]


def test_equal_values_are_no_change() -> None:
    curve = Curve(0.25)
    assert not curve.add(1.0, 0.25)
    assert not curve.times_s
    assert curve.last == 0.25
    assert curve.at(np.zeros((2, 3))).tolist() == [[0.25] * 3] * 2


def test_moving_a_curve_moves_all_its_changes() -> None:
    curve = Curve(0.0)
    for k in range(5):
        curve.add(float(k), float(k + 1))
    moments = np.linspace(0, 6, 50)
    before = curve.at(moments)
    curve.move(2.5)
    np.testing.assert_array_equal(curve.at(moments + 2.5), before)


def test_controllers_begin_as_general_midi_has_it() -> None:
    c = Controllers()
    values = [float(curve.at(np.zeros(1))[0]) for curve in c.curves]
    assert values == pytest.approx([40 * math.log10(100 / 127), 0.0, 0.0, 0.0, 40 / 127])
    assert c.curves == (c.gain_db, c.pitch_semitones, c.modulation, c.pedal, c.reverb)


def test_channels_of_two_notes_are_not_shared() -> None:
    first, second = Controllers(), Controllers()
    first.pedal.add(0.0, 1.0)
    assert second.pedal.last == 0.0


@pytest.mark.parametrize(
    ("offset_s", "choke_s", "silent_s", "end_s", "heard_until_s"),
    [
        (2.0, math.inf, math.inf, 2.0, 3.5),
        (2.0, 1.0, math.inf, 1.0, 2.5),
        (math.inf, math.inf, 4.0, math.inf, 4.0),
        (2.0, 1.5, 1.6, 1.5, 1.6),
    ],
)
def test_a_note_is_heard_until_it_has_rung_out_or_lost_its_voice(
    offset_s: float, choke_s: float, silent_s: float, end_s: float, heard_until_s: float
) -> None:
    note = Note(0.0, 60, 100, 0, 0, offset_s=offset_s, choke_s=choke_s, silent_s=silent_s)
    assert note.end_s == end_s
    assert note.heard_until_s(1.5) == heard_until_s


def test_a_performance_ends_with_its_last_release() -> None:
    def note(onset_s: float, offset_s: float) -> Note:
        return Note(onset_s, 60, 100, 0, 0, offset_s=offset_s)

    assert Performance([], {}).end_s == 0.0
    assert Performance([note(0, 3.0), note(1, 2.0)], {}).end_s == 3.0
    assert Performance([note(0, 3.0), note(5, math.inf)], {}).end_s == 5.0


@pytest.mark.parametrize(("status", "port", "kind", "channel"), [(0x95, 0, 0x90, 5), (0xB0, 2, 0xB0, 32), (0xFF, 0, 0xFF, 15)])
def test_an_event_tells_its_kind_and_its_channel(status: int, port: int, kind: int, channel: int) -> None:
    event = Event(0.0, status, port=port)
    assert (event.kind, event.channel) == (kind, channel)
