"""Tokens hold all that a codec has words for: read back, they are the notes that were written, window by window."""

import math
from typing import NamedTuple

import numpy as np
import pytest

from specdiffd.base.events import Note, Performance
from specdiffd.base.formats import MelFormat
from specdiffd.tokens.codec import EOS, GRANULARITIES, SPECIAL_IDS, Codec
from specdiffd.tokens.window import song_windows, window_start, window_tokens

FULL = Codec(steps_per_second=200, max_shift_steps=1100, velocity_bins=127, program_granularity="full")
CODECS = (FULL, Codec(), Codec(program_granularity="family", velocity_bins=16, max_tokens=4096))
FORMAT, WINDOW_FRAMES = MelFormat(), 256


class Read(NamedTuple):
    """A window as its tokens tell it: steps are those since its beginning, programs are classes."""

    ties: list[tuple[int, int]]  # program, pitch
    events: list[tuple[int, bool, int, int, int]]  # step, is drum, program (0 of drums), pitch, velocity bin (0: the end)


def read(ids: list[int], codec: Codec) -> Read:
    """The vocabulary by its definition: sticky program and velocity, times from the window's beginning."""
    end_of_ties = ids.index(codec.tie)
    assert ids[-1] == EOS
    ties, events, step, program, bin_ = [], [], 0, -1, -1
    for place, token in enumerate(ids[:-1]):
        if SPECIAL_IDS <= token < codec.pitch_base:
            step = token - SPECIAL_IDS
        elif token < codec.velocity_base and place < end_of_ties:
            ties.append((program, token - codec.pitch_base))
        elif token < codec.velocity_base:
            events.append((step, False, program, token - codec.pitch_base, bin_))
        elif token < codec.tie:
            bin_ = token - codec.velocity_base
        elif codec.program_base <= token < codec.drum_base:
            program = token - codec.program_base
        elif token >= codec.drum_base:
            events.append((step, True, 0, token - codec.drum_base, bin_))
    return Read(ties, events)


def song(seed: int, length_s: float = 12.0) -> Performance:
    """Notes and drums at random; no two of a program and pitch overlap, since those share one state in the vocabulary."""
    rng = np.random.default_rng(seed)
    notes = []
    for program, pitch in zip(rng.choice(128, 12, replace=False), rng.integers(30, 90, 12), strict=True):
        at_s = float(rng.uniform(0, 3))
        while at_s < length_s:
            end_s = at_s + float(rng.uniform(0.02, 4))
            notes.append(Note(at_s, int(pitch), int(rng.integers(1, 128)), int(program), 0, offset_s=end_s))
            at_s = end_s + float(rng.uniform(0.02, 3))
    notes += [Note(float(t), int(rng.integers(35, 82)), int(rng.integers(1, 128)), 0, 9, True) for t in rng.uniform(0, length_s, 20)]
    return Performance(sorted(notes, key=lambda n: n.onset_s), {})


def told(notes: list[Note], first: int, last: int, codec: Codec) -> list[tuple[int, bool, int, int, int]]:
    """What the tokens of steps ``first`` to ``last`` must tell of notes."""
    rows = []
    for n in notes:
        program = 0 if n.is_drum else codec.program(n.program)
        moments = [(n.onset_s, codec.velocity(n.velocity) - codec.velocity_base)]
        if not n.is_drum and n.end_s < math.inf:
            moments.append((n.end_s, 0))
        rows += [(codec.steps(t) - first, n.is_drum, program, n.pitch, b) for t, b in moments if first <= codec.steps(t) < last]
    return sorted(rows)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seed", range(3))
def test_a_song_comes_back_window_by_window(codec: Codec, seed: int) -> None:
    performance = song(seed)
    windows = list(song_windows(performance, FORMAT, WINDOW_FRAMES, codec))
    edges = [codec.steps(k * WINDOW_FRAMES * FORMAT.frame_s) for k in range(len(windows) + 1)]
    edges[-1] = 1 << 30
    for window, first, last in zip(windows, edges[:-1], edges[1:], strict=True):
        assert window.dropped_events == 0
        assert sorted(read(window.ids, codec).events) == told(list(performance.notes), first, last, codec)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seed", range(3))
def test_ties_are_the_notes_that_sound_over_a_windows_edge(codec: Codec, seed: int) -> None:
    performance = song(seed)
    for start_s in (0.0, 1.37, 5.12, 9.999):
        window, first = window_tokens(performance, start_s, start_s + 5.12, codec), codec.steps(start_s)
        held = {
            (codec.program(n.program), n.pitch)
            for n in performance.notes
            if not n.is_drum and codec.steps(n.onset_s) < first <= codec.steps(n.end_s)
        }
        found = read(window.ids, codec).ties
        assert found == sorted(set(found))
        if codec is FULL:  # classes of programs may share a pitch, and its state
            assert set(found) == held


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_program_becomes_the_class_at_or_below_it(granularity: str) -> None:
    codec, classes = Codec(program_granularity=granularity), GRANULARITIES[granularity]
    for program in range(128):
        assert codec.program(program) == max(c for c in classes if c <= program)


@pytest.mark.parametrize("room", [16, 40, 90])
def test_where_there_are_too_many_the_newest_events_are_whole(room: int) -> None:
    performance = song(1)
    whole, cut = (window_tokens(performance, 2.0, 7.12, Codec(max_tokens=size)) for size in (4096, room))
    events, kept = read(whole.ids, Codec()).events, read(cut.ids, Codec()).events
    assert len(cut.ids) <= room
    assert len(cut.ids) == len(cut.times_s)
    assert cut.dropped_events == len(events) - len(kept) > 0
    assert kept == events[cut.dropped_events :]
    assert read(cut.ids, Codec()).ties == read(whole.ids, Codec()).ties


def test_every_event_token_tells_when_it_can_be_known() -> None:
    performance = song(2)
    window = window_tokens(performance, 1.0, 6.12, FULL)
    ties = window.ids.index(FULL.tie) + 1
    assert window.times_s[:ties] == [-math.inf] * ties
    assert window.times_s[-1] == math.inf
    assert window.times_s == sorted(window.times_s)
    moments = {t for n in performance.notes for t in (n.onset_s, n.end_s)}
    assert set(window.times_s[ties:-1]) <= moments


@pytest.mark.parametrize("hop", [1, 32, 100])
def test_a_window_rolls_no_further_than_it_must(hop: int) -> None:
    for end in range(10, 1500, 37):
        start = window_start(10, end, 256, hop)
        assert (start - 10) % hop == 0
        assert end - 256 <= start
        assert start == 10 or start - hop < end - 256
