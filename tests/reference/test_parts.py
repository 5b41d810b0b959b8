"""What generated music is made of stays within what MIDI and the model's audience know, whatever the seed."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from specdiffd.base.events import Event
from specdiffd.base.messages import BEND, CONTROL, DRUM_CHANNEL, NOTE_OFF, NOTE_ON, PROGRAM
from specdiffd.reference import generated
from specdiffd.reference.drums import drum_hits, drum_pattern
from specdiffd.reference.parts import COMMON_PROGRAMS, KIT, Rng, melodic_channels, note, order, random_program, set_up, velocities

SEEDS = range(12)
SECONDS = 9.0
TEXTURES = (generated._lines, generated._chords, generated._repeats, generated._isolated, generated._long_notes)


def assert_playable(events: list[Event]) -> None:
    for e in events:
        assert e.time_s >= 0
        assert 0 <= e.data1 <= 127
        assert 0 <= e.data2 <= 127
        assert e.kind in (NOTE_ON, NOTE_OFF, CONTROL, PROGRAM, BEND)
    on, off = (Counter((e.channel, e.data1) for e in events if e.kind == kind) for kind in (NOTE_ON, NOTE_OFF))
    assert on == off


@pytest.mark.parametrize(
    ("length_s", "velocity", "end_s", "strength"), [(1.0, 64.4, 3.0, 64), (0.001, 0.0, 2.01, 1), (-5.0, 300, 2.01, 127)]
)
def test_a_note_has_an_end_after_its_beginning(length_s: float, velocity: float, end_s: float, strength: int) -> None:
    on, off = note(3, 2.0, length_s, 60, velocity)
    assert on == Event(2.0, NOTE_ON | 3, 60, strength)
    assert off == Event(pytest.approx(end_s), NOTE_OFF | 3, 60, 0)


def test_at_one_moment_what_sets_up_a_note_comes_before_it() -> None:
    events = [Event(1.0, NOTE_ON, 60, 90), Event(1.0, CONTROL, 7, 50), Event(0.5, NOTE_ON, 60, 80), Event(1.0, NOTE_OFF, 60, 0)]
    assert [e.status for e in sorted(events, key=order)] == [NOTE_ON, CONTROL, NOTE_OFF, NOTE_ON]


@pytest.mark.parametrize("texture", TEXTURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_texture_fills_its_time_with_notes_of_its_channel(texture: Callable[[Rng, int, float], list[Event]], seed: int) -> None:
    events = texture(np.random.default_rng(seed), 5, SECONDS)
    assert_playable(events)
    onsets = [e for e in events if e.kind == NOTE_ON]
    assert onsets
    assert {e.channel for e in events} == {5}
    assert all(21 <= e.data1 <= 108 for e in onsets)
    assert max(e.time_s for e in onsets) < SECONDS + 4


@pytest.mark.parametrize("seed", SEEDS)
def test_repeats_do_not_overlap(seed: int) -> None:
    events = sorted(generated._repeats(np.random.default_rng(seed), 0, SECONDS), key=order)
    sounding: set[int] = set()
    for e in events:
        if e.kind == NOTE_ON:
            assert e.data1 not in sounding
            sounding.add(e.data1)
        else:
            sounding.remove(e.data1)


@pytest.mark.parametrize("make", [drum_hits, drum_pattern])
@pytest.mark.parametrize("seed", SEEDS)
def test_drums_are_strokes_of_the_kit_on_its_channel(make: Callable[[Rng, float], list[Event]], seed: int) -> None:
    events = make(np.random.default_rng(seed), SECONDS)
    assert_playable(events)
    assert {e.channel for e in events} == {DRUM_CHANNEL}
    assert all(e.data1 in KIT for e in events)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pattern_comes_again_each_bar(seed: int) -> None:
    """But for two strokes in a hundred: how often one is played is near never or near always."""
    events = drum_pattern(np.random.default_rng(seed), 60.0)
    step_s = (events[1].time_s - events[0].time_s) / 0.9  # a note is as long as nine tenths of a sixteenth
    placed = {(e.data1, round((e.time_s - events[0].time_s) / step_s)) for e in events if e.kind == NOTE_ON}
    bars = (max(place for _, place in placed) + 1) // 16
    assert bars >= 15
    shares = np.array([n / bars for n in Counter((key, place % 16) for key, place in placed if 0 <= place < 16 * bars).values()])
    assert np.maximum(shares, 1 - shares).mean() > 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_channels_are_set_up_before_they_play(seed: int) -> None:
    events = set_up(np.random.default_rng(seed), 2, SECONDS)
    assert_playable(events)
    assert events[0].kind == PROGRAM
    assert events[0].time_s == 0.0
    pedal = [e.data2 for e in sorted(events, key=lambda e: e.time_s) if e.kind == CONTROL and e.data1 == 64]
    assert pedal == [127, 0] * (len(pedal) // 2), "each time it is pressed it is let go"


def test_controllers_of_all_kinds_are_set_up_now_and_then() -> None:
    kinds = Counter(
        kind
        for seed in range(300)
        for kind in {(e.kind, e.data1 if e.kind == CONTROL else 0) for e in set_up(np.random.default_rng(seed), 0, 3.0)}
    )
    assert kinds[PROGRAM, 0] == 300
    shares = [kinds[k] / 300 for k in ((CONTROL, 7), (CONTROL, 11), (CONTROL, 1), (BEND, 0), (CONTROL, 64))]
    assert shares == pytest.approx([0.3, 0.15, 0.08, 0.05, 0.3], abs=0.08)


def test_melodies_leave_the_drums_channel_alone() -> None:
    orders = {tuple(melodic_channels(np.random.default_rng(seed))) for seed in range(20)}
    assert len(orders) == 20
    assert all(sorted(channels) == [c for c in range(16) if c != DRUM_CHANNEL] for channels in orders)


def test_half_of_all_parts_are_what_people_play() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(random_program(rng) for _ in range(20_000))
    assert set(drawn) == set(range(128))
    common = sum(drawn[p] for p in set(COMMON_PROGRAMS)) / 20_000
    assert common == pytest.approx(0.5 + 0.5 * len(set(COMMON_PROGRAMS)) / 128, abs=0.02)


def test_a_parts_velocities_lie_around_a_level_of_its_own() -> None:
    parts = []
    for seed in range(40):
        draw = velocities(np.random.default_rng(seed))
        drawn = np.array([draw() for _ in range(200)])
        assert 5 <= drawn.min() <= drawn.max() <= 127
        parts.append(drawn)
    within, between = np.mean([p.std() for p in parts]), np.std([p.mean() for p in parts])
    assert within < 25
    assert between > 15
