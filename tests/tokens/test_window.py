import math

import pytest

from specdiffd.base.events import Note, Performance
from specdiffd.base.formats import MelFormat
from specdiffd.tokens.codec import EOS, Codec
from specdiffd.tokens.window import song_windows, window_tokens

CODEC = Codec()
TIE, ON, OFF = 1134, 1133, 1132


def tokens(notes: list[Note], start: float = 0.0, end: float = 5.12, codec: Codec = CODEC) -> list[int]:
    return window_tokens(Performance(notes, {}), start, end, codec).ids


def note(onset: float, pitch: int = 60, offset: float = math.inf, program: int = 0, drum: bool = False, velocity: int = 100) -> Note:
    return Note(onset, pitch, velocity, program, 9 if drum else 0, drum, offset)


def test_an_empty_window_is_a_tie_and_an_end() -> None:
    assert tokens([]) == [TIE, EOS]


def test_one_note() -> None:
    assert tokens([note(0.5, 60, 1.0)]) == [TIE, 53, 1135, ON, 1064, 103, OFF, 1064, EOS]


def test_an_onset_at_zero_needs_no_shift() -> None:
    assert tokens([note(0.0, 60)]) == [TIE, 1135, ON, 1064, EOS]


def test_program_and_velocity_are_sticky() -> None:
    both = tokens([note(0.5, 60), note(0.5, 64), note(0.6, 62, program=40)])
    assert both == [TIE, 53, 1135, ON, 1064, 1068, 63, 1175, 1066, EOS]


def test_held_notes_come_first_sorted_and_carry_their_program() -> None:
    held = [note(-1, 64), note(-1, 60, program=40), note(-2, 62)]
    assert tokens([*held, note(1.0, 70, program=40)]) == [1135, 1066, 1068, 1175, 1064, TIE, 103, ON, 1074, EOS]


def test_a_released_note_is_not_tied() -> None:
    assert tokens([note(-1, 60, -0.5)]) == [TIE, EOS]


def test_drums_have_no_program_no_end_and_are_never_tied() -> None:
    assert tokens([note(0.1, 38, 0.2, drum=True), note(-1, 49, 2.0, drum=True)]) == [TIE, 13, ON, 1301, EOS]


def test_offsets_come_before_onsets_of_the_same_moment() -> None:
    assert tokens([note(0.0, 60, 0.5), note(0.5, 60, 1.0)]) == [TIE, 1135, ON, 1064, 53, OFF, 1064, ON, 1064, 103, OFF, 1064, EOS]


def test_velocity_levels_are_written_when_the_codec_has_them() -> None:
    codec = Codec(velocity_bins=2)
    ids = tokens([note(0.0, 60, velocity=30), note(0.1, 62, velocity=120)], codec=codec)
    assert [codec.name(i) for i in ids[2:]] == ["velocity 1", "pitch 60", "shift 10", "velocity 2", "pitch 62", "eos"]


def test_times_tell_when_a_token_can_be_known() -> None:
    window = window_tokens(Performance([note(-1, 50), note(0.503, 60)], {}), 0.0, 5.12, CODEC)
    assert window.times_s == [-math.inf, -math.inf, -math.inf, 0.503, 0.503, 0.503, math.inf]
    assert len(window.times_s) == len(window.ids)


def test_growing_scores_extend_the_tokens() -> None:
    """Later events only append tokens: those that a causal encoder has read do not change."""
    notes = [note(0.1 * k, 40 + k, 0.1 * k + 0.35) for k in range(20)]
    whole = tokens(notes)[:-1]
    for cut_s in (0.55, 1.234, 1.9):
        heard = [Note(n.onset_s, n.pitch, n.velocity, n.program, 0, False, n.offset_s if n.offset_s <= cut_s else math.inf) for n in notes]
        part = tokens([n for n in heard if n.onset_s <= cut_s])[:-1]
        assert part == whole[: len(part)]


def test_too_many_tokens_keep_ties_and_the_newest_events() -> None:
    codec = Codec(max_tokens=64)
    notes = [note(-1, 30)] + [note(0.01 * k, 20 + k % 100) for k in range(300)]
    window = window_tokens(Performance(notes, {}), 0.0, 5.12, codec)
    assert len(window.ids) <= 64
    assert window.ids[:3] == [codec.program_base, codec.pitch_base + 30, codec.tie]
    assert window.ids[-2] == codec.pitch_base + 20 + 299 % 100
    assert window.dropped_events > 200


@pytest.mark.parametrize(("end_s", "count"), [(0.0, 1), (5.0, 1), (5.2, 2), (20.4, 4)])
def test_songs_are_cut_into_windows(end_s: float, count: int) -> None:
    notes = [note(0.0, 60, end_s)] if end_s else []
    windows = list(song_windows(Performance(notes, {}), MelFormat(), 256, CODEC))
    assert len(windows) == count
    for later in windows[1:]:
        assert later.ids[:3] == [1135, 1064, TIE]
