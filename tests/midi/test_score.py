"""The score: what messages make of notes and controllers."""

import math
import pickle
from dataclasses import astuple

import numpy as np
import pytest

from specdiffd.base.events import CURVE_STEP_S, Curve, Event, Note
from specdiffd.midi.score import Score
from specdiffd.midi.voices import MOST_VOICES, RING_S, SHORTEST_S


def score(*rows: tuple[float, int, int, int]) -> Score:
    return Score().extend(Event(*row) for row in rows)


def only(s: Score) -> Note:
    (note,) = s.performance.notes
    return note


def test_on_and_off() -> None:
    note = only(score((1.0, 0x92, 60, 100), (1.5, 0x82, 60, 0)))
    assert (note.onset_s, note.offset_s, note.pitch, note.velocity, note.channel, note.is_drum) == (1.0, 1.5, 60, 100, 2, False)


def test_velocity_zero_is_a_note_off() -> None:
    assert only(score((1.0, 0x90, 60, 100), (1.5, 0x90, 60, 0))).offset_s == 1.5


def test_a_held_note_has_no_end_yet() -> None:
    s = score((1.0, 0x90, 60, 100))
    assert math.isinf(only(s).offset_s)
    assert s.sounding(2.0) == [only(s)]
    assert s.sounding(0.5) == []


def test_pedal_holds_until_it_is_lifted() -> None:
    s = score((0, 0xB0, 64, 127), (1, 0x90, 60, 100), (2, 0x80, 60, 0), (3, 0xB0, 64, 0))
    assert only(s).offset_s == 3


def test_pedal_up_leaves_keys_that_are_down() -> None:
    s = score((0, 0xB0, 64, 127), (1, 0x90, 60, 100), (3, 0xB0, 64, 63), (4, 0x80, 60, 0))
    assert only(s).offset_s == 4


def test_the_next_onset_of_the_pitch_ends_a_sustained_note() -> None:
    s = score((0, 0xB0, 64, 127), (1, 0x90, 60, 100), (2, 0x80, 60, 0), (3, 0x90, 60, 90), (4, 0xB0, 64, 0), (5, 0x80, 60, 0))
    assert [(n.onset_s, n.offset_s) for n in s.performance.notes] == [(1, 3), (3, 5)]


def test_program_is_that_of_the_onset() -> None:
    s = score((0, 0xC3, 40, 0), (1, 0x93, 60, 100), (1.5, 0xC3, 5, 0), (2, 0x93, 62, 100))
    assert [n.program for n in s.performance.notes] == [40, 5]
    assert s.program(3) == 5


def test_channel_ten_is_drums_and_hats_choke_each_other() -> None:
    s = score((0, 0x99, 46, 100), (0.3, 0x99, 42, 100), (0.4, 0x99, 38, 100))
    opened, closed, snare = s.performance.notes
    assert opened.is_drum
    assert (opened.choke_s, opened.offset_s) == (0.3, 0.3)
    assert math.isinf(closed.choke_s)
    assert math.isinf(snare.choke_s)


def test_all_notes_off_honours_the_pedal_and_all_sound_off_does_not() -> None:
    held = ((0, 0xB0, 64, 127), (1, 0x90, 60, 100))
    assert math.isinf(only(score(*held, (2, 0xB0, 123, 0))).offset_s)
    cut = only(score(*held, (2, 0xB0, 120, 0)))
    assert (cut.offset_s, cut.choke_s) == (2, 2)


def test_reset_ends_everything_everywhere() -> None:
    s = score((0, 0xC1, 9, 0), (0, 0xB1, 1, 99), (1, 0x91, 60, 100), (2, 0x90, 62, 90), (3, 0xFF, 0, 0))
    assert all(n.choke_s == 3 for n in s.performance.notes)
    assert s.program(1) == 0
    assert s.performance.controllers[1].modulation.last == 0


def test_controllers_become_curves() -> None:
    s = score((0, 0xB0, 7, 127), (1, 0xB0, 11, 64), (2, 0xE0, 0, 0x60), (3, 0xB0, 1, 127), (4, 0xB0, 121, 0))
    c = s.performance.controllers[0]
    assert c.gain_db.at(np.array([0.5, 1.5, 4.5])) == pytest.approx([0.0, 40 * math.log10(64 / 127), 0.0], abs=1e-4)
    assert c.pitch_semitones.at(np.array([1.0, 2.5, 4.5])) == pytest.approx([0, 1, 0], abs=1e-3)
    assert c.modulation.at(np.array([2.9, 3.5, 4.5])) == pytest.approx([0, 1, 0])


def test_bend_range_by_rpn() -> None:
    s = score((0, 0xB0, 101, 0), (0, 0xB0, 100, 0), (0, 0xB0, 6, 12), (1, 0xE0, 0x7F, 0x7F))
    assert s.performance.controllers[0].pitch_semitones.last == pytest.approx(12, abs=0.01)


def test_forget_keeps_what_is_held_and_the_controllers_values() -> None:
    s = score((0, 0xB0, 7, 64), (1, 0x90, 60, 100), (2, 0x90, 62, 100), (3, 0x80, 62, 0), (50, 0xB0, 7, 32))
    s.forget(40.0, 49.0)
    assert [n.pitch for n in s.performance.notes] == [60]
    assert s.performance.controllers[0].gain_db.at(np.array([45.0])) == pytest.approx([40 * math.log10(64 / 127)], abs=1e-4)


def test_stray_messages_change_nothing() -> None:
    s = score((0, 0x80, 60, 0), (0, 0xA0, 60, 9), (0, 0xD0, 9, 0), (0, 0xB0, 20, 5))
    assert s.performance.notes == []


RPN_BEND = ((0, 0xB0, 101, 0), (0, 0xB0, 100, 0))


def pitch(*rows: tuple[float, int, int, int]) -> float:
    return score(*rows).performance.controllers[0].pitch_semitones.last


def test_tuning_by_rpn() -> None:
    fine, coarse = ((0, 0xB0, 101, 0), (0, 0xB0, 100, 1)), ((0, 0xB0, 101, 0), (0, 0xB0, 100, 2))
    assert pitch(*coarse, (0, 0xB0, 6, 52, 0)) == -12
    assert pitch(*fine, (0, 0xB0, 6, 96, 0)) == 0.5
    assert pitch(*fine, (0, 0xB0, 6, 64, 0), (0, 0xB0, 38, 82, 0)) == pytest.approx(0.01, abs=1e-4)
    assert pitch(*fine, (0, 0xB0, 38, 82, 0), (0, 0xB0, 6, 64, 0)) == pytest.approx(0.01, abs=1e-4)  # in either order
    assert pitch(*coarse, (0, 0xB0, 6, 66, 0), *fine, (0, 0xB0, 6, 96, 0), (0, 0xE0, 0, 96)) == 3.5


def test_an_nrpn_takes_no_data_for_the_rpn_before_it() -> None:
    nrpn = ((0, 0xB0, 99, 1), (0, 0xB0, 98, 8))
    half = (1, 0xE0, 0, 0x60)
    assert pitch(*RPN_BEND, *nrpn, (0, 0xB0, 6, 80), half) == 1
    assert pitch(*RPN_BEND, (0, 0xB0, 98, 8), (0, 0xB0, 6, 80), half) == 1  # one of the two is enough
    assert pitch(*nrpn, *RPN_BEND, (0, 0xB0, 6, 12), half) == 6
    assert pitch(*RPN_BEND, (0, 0xB0, 101, 127), (0, 0xB0, 100, 127), (0, 0xB0, 6, 80), half) == 1


def test_data_of_the_parameter_before_does_not_count() -> None:
    fine = ((0, 0xB0, 101, 0), (0, 0xB0, 100, 1), (0, 0xB0, 38, 50), (0, 0xB0, 6, 64))
    assert pitch(*fine, *RPN_BEND, (0, 0xB0, 6, 12), (0, 0xB0, 101, 0), (0, 0xB0, 100, 1), (0, 0xB0, 6, 64), (1, 0xE0, 0, 0)) == -12


def test_a_reset_restores_everything() -> None:
    changed = [(0, 0xB0, c, v) for c, v in ((7, 1), (11, 2), (1, 3), (91, 4), (64, 127), (101, 0), (100, 0), (6, 24), (100, 2), (6, 70))]
    s = score(*changed, (0, 0xC0, 9, 0), (0, 0xE0, 0, 0), (1, 0xFF, 0, 0), (2, 0x90, 60, 100), (3, 0x80, 60, 0), (3, 0xE0, 0, 0))
    fresh = Score().extend([Event(0, 0xB0, 20, 0)]).performance.controllers[0]
    found = s.performance.controllers[0]
    for name in ("gain_db", "modulation", "pedal", "reverb"):
        assert getattr(found, name).at(np.array([2.5])) == getattr(fresh, name).at(np.array([2.5])), name
    assert found.pitch_semitones.at(np.array([2.5, 3.5])).tolist() == [0, -2]
    (note,) = s.performance.notes
    assert (note.program, note.offset_s) == (0, 3)


def test_a_note_of_no_length_sounds() -> None:
    assert only(score((1, 0x90, 60, 100), (1, 0x80, 60, 0))).offset_s == 1 + SHORTEST_S
    assert only(score((1, 0x99, 36, 100), (1, 0x99, 36, 0))).offset_s == 1 + SHORTEST_S


def test_two_strokes_of_a_key_at_one_moment_are_one() -> None:
    s = score((1, 0x90, 60, 50), (1, 0x90, 60, 90), (2, 0x80, 60, 0), (2, 0x80, 60, 0))
    assert (only(s).velocity, only(s).offset_s) == (90, 2)
    assert s.sounding(1.5) == [only(s)]


def test_apply_returns_whether_the_sound_changes() -> None:
    s = Score()
    heard = [
        s.apply(Event(*row))
        for row in (
            (0, 0xC0, 5, 0),
            (0, 0xB0, 7, 50),
            (1, 0x90, 60, 100),
            (1, 0xB1, 7, 50),
            (1, 0xB0, 7, 50),
            (1, 0xB0, 7, 60),
            (1, 0xB0, 20, 60),
            (2, 0xB0, 64, 127),
            (2, 0x80, 60, 0),
            (3, 0xB0, 64, 0),
            (3, 0x80, 60, 0),
            (3 + 2 * RING_S, 0xB0, 7, 30),
        )
    ]
    assert heard == [False, False, True, False, False, True, False, True, False, True, False, False]


def test_too_many_voices_steal_the_one_that_ended_first() -> None:
    s = score(*((0.001 * k, 0x90 + k // 120, k % 120, 100) for k in range(MOST_VOICES)), (0.5, 0x80, 7, 0), (0.6, 0x90, 5, 100))
    assert s.stolen_notes == 1
    gone = [n for n in s.performance.notes if n.choke_s == 0.6]
    assert [(n.channel, n.pitch) for n in gone] == [(0, 7)]
    s.extend(Event(0.7 + 0.001 * k, 0x95, k, 100) for k in range(100))
    assert len(s.sounding(0.9)) <= MOST_VOICES
    assert s.stolen_notes == 101


def test_a_stolen_key_that_is_let_go_later_changes_nothing() -> None:
    s = score(*((0.001 * k, 0x90 + k // 120, k % 120, 100) for k in range(MOST_VOICES + 1)))
    assert math.isfinite(s.performance.notes[0].choke_s)
    assert not s.apply(Event(1, 0x80, 0, 0))


def test_a_score_that_forgets_keeps_the_newest() -> None:
    kept = Score(kept_notes=100)
    for k in range(10_000):
        kept.extend((Event(0.01 * k, 0x90, k % 128, 100), Event(0.01 * k + 0.005, 0x80, k % 128, 0)))
    notes = kept.performance.notes
    assert len(notes) <= 2 * 100 + 2 * MOST_VOICES
    assert notes[-1].onset_s == pytest.approx(99.99)
    assert [n.onset_s for n in notes] == sorted(n.onset_s for n in notes)


def test_notes_that_nobody_could_hear_are_discarded() -> None:
    s = score((1, 0x90, 60, 100), (5, 0x90, 62, 100), (5, 0x80, 62, 0), (5, 0x80, 60, 0), (5, 0x90, 64, 100))
    s.discard(5)
    assert [(n.pitch, n.offset_s) for n in s.performance.notes] == [(60, 5), (64, math.inf)]
    assert [n.pitch for n in s.sounding(6)] == [64]


def test_everything_can_be_let_go() -> None:
    rows = ((0, 0xB2, 64, 127), (1, 0x92, 60, 100), (1.5, 0x82, 60, 0), (1, 0x95, 64, 100))
    s = score(*rows)
    assert s.release_all(2)
    assert [n.offset_s for n in s.performance.notes] == [2, 2]
    assert not s.release_all(3)


def test_a_panic_forgets_notes_and_controllers_and_keeps_programs_and_volume() -> None:
    s = score(
        (0, 0xC2, 40, 0), (0, 0xB2, 7, 50), (0, 0xB2, 64, 127), (0, 0xB2, 1, 90), (1, 0x92, 60, 100), (1.5, 0x82, 60, 0), (1, 0x95, 64, 1)
    )
    s.panic(2)
    assert s.performance.notes == []
    assert s.sounding(2) == []
    s.extend((Event(3, 0x92, 62, 100), Event(4, 0x82, 62, 0)))
    assert (only(s).program, only(s).offset_s) == (40, 4)
    assert s.performance.controllers[2].modulation.last == 0
    assert s.performance.controllers[2].gain_db.last == pytest.approx(40 * math.log10(50 / 127))


def test_an_open_hat_is_cut_off_by_the_next_stroke_of_its_group() -> None:
    s = score((0, 0x99, 46, 100), (0.1, 0x89, 46, 0), (0.2, 0x99, 46, 100), (0.3, 0x99, 42, 100))
    assert [n.choke_s for n in s.performance.notes] == [0.2, 0.3, math.inf]


def test_the_last_of_several_close_changes_counts() -> None:
    curve = Curve(0.0)
    for k in range(1000):
        curve.add(0.0001 * k, k + 1.0)
    assert len(curve.times_s) == round(0.1 / CURVE_STEP_S)
    assert curve.at(np.array([-1.0, 0.0001 * 500 + CURVE_STEP_S, 1.0])) == pytest.approx([0, 520, 1000], abs=30)
    assert curve.last == 1000


def test_a_score_goes_on_from_a_snapshot() -> None:
    rows = [(0.01 * k, 0x90 | k % 5, k % 120, 100) for k in range(300)]
    whole, first = score(*rows), pickle.loads(pickle.dumps(score(*rows[:150])))
    first.extend(Event(*row) for row in rows[150:])
    assert [astuple(n) for n in first.performance.notes] == [astuple(n) for n in whole.performance.notes]
    assert first.stolen_notes == whole.stolen_notes > 0
    first.panic(9)
    assert not first.sounding(9)
