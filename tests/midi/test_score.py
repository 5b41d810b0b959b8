import math

import numpy as np
import pytest

from specdiffd.events import Event, Note
from specdiffd.midi.score import Score


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
    assert c.bend_semitones.at(np.array([1.0, 2.5, 4.5])) == pytest.approx([0, 1, 0], abs=1e-3)
    assert c.modulation.at(np.array([2.9, 3.5, 4.5])) == pytest.approx([0, 1, 0])


def test_bend_range_by_rpn() -> None:
    s = score((0, 0xB0, 101, 0), (0, 0xB0, 100, 0), (0, 0xB0, 6, 12), (1, 0xE0, 0x7F, 0x7F))
    assert s.performance.controllers[0].bend_semitones.last == pytest.approx(12, abs=0.01)


def test_forget_keeps_what_is_held_and_the_controllers_values() -> None:
    s = score((0, 0xB0, 7, 64), (1, 0x90, 60, 100), (2, 0x90, 62, 100), (3, 0x80, 62, 0), (50, 0xB0, 7, 32))
    s.forget(40.0)
    assert [n.pitch for n in s.performance.notes] == [60]
    assert s.performance.controllers[0].gain_db.at(np.array([45.0])) == pytest.approx([40 * math.log10(64 / 127)], abs=1e-4)


def test_stray_messages_change_nothing() -> None:
    s = score((0, 0x80, 60, 0), (0, 0xA0, 60, 9), (0, 0xD0, 9, 0), (0, 0xB0, 20, 5))
    assert s.performance.notes == []
