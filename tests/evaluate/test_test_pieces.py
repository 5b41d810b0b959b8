"""What evaluation plays: stretches of songs in each family, and single sounds of known onsets."""

import math
from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np
import pytest

from specdiffd.base.events import Event, Note, Performance
from specdiffd.base.messages import DRUM_CHANNEL, NOTE_OFF, NOTE_ON, PROGRAM
from specdiffd.evaluate import pieces
from specdiffd.evaluate.pieces import BAND, BAND_PROGRAMS, FAMILIES, START_S, TRACKS
from specdiffd.evaluate.transcribe import note_f1, played

SECONDS = 8.0


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tracks of a note a second at 0.25 s after each, for a minute: pitches 60, 61, 62 and 63."""
    file = mido.MidiFile(ticks_per_beat=480)
    for k in range(4):
        track = mido.MidiTrack([mido.Message("note_on", note=60 + k, velocity=80, time=240)])
        for _ in range(59):
            track += [mido.Message("note_off", note=60 + k, time=480), mido.Message("note_on", note=60 + k, velocity=80, time=480)]
        file.tracks.append([*track, mido.Message("note_off", note=60 + k, time=480)])
    path = tmp_path_factory.mktemp("songs") / "minute.mid"
    file.save(path)
    return path


def onsets(events: list[Event]) -> list[Event]:
    return [e for e in events if e.kind == NOTE_ON]


def assert_ends_in_time(events: list[Event], length_s: float) -> None:
    """In order, all that begins ends, and within the length."""
    assert [e.time_s for e in events] == sorted(e.time_s for e in events)
    on, off = (sorted((e.channel, e.data1) for e in events if e.kind == kind) for kind in (NOTE_ON, NOTE_OFF))
    assert on == off
    assert events[-1].time_s < length_s


@pytest.mark.parametrize("family", [*FAMILIES, BAND])
def test_a_piece_is_a_stretch_of_its_song_by_a_familys_programs(song: Path, family: str) -> None:
    events = pieces.family_piece(song, family, SECONDS)
    melodic = [e for e in onsets(events) if e.channel != DRUM_CHANNEL]
    times = sorted({e.time_s for e in melodic})
    assert times == pytest.approx([0.25 + k for k in range(int(SECONDS) - 1)])  # the last second is left to ring out
    programs = [e.data1 for e in events if e.kind == PROGRAM]
    assert len(programs) == TRACKS
    if family == BAND:
        assert tuple(programs) == BAND_PROGRAMS
    else:
        assert {p // 8 for p in programs} == {FAMILIES.index(family)}
        assert len(set(programs)) == TRACKS
    assert any(e.channel == DRUM_CHANNEL for e in events) == (family == BAND)


@pytest.mark.parametrize(("family", "pitches"), [("piano", {60, 61, 62}), ("bass", {48, 49, 50}), (BAND, {60, 61, 50})])
def test_basses_are_an_octave_lower(song: Path, family: str, pitches: set[int]) -> None:
    events = onsets(pieces.family_piece(song, family, SECONDS))
    assert {e.data1 for e in events if e.channel != DRUM_CHANNEL} == pitches


def test_the_test_set_has_every_family_and_leaves_out_what_is_silent(song: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mid"  # over before a piece begins
    mido.MidiFile(
        tracks=[mido.MidiTrack([mido.Message("note_on", note=60, velocity=80), mido.Message("note_off", note=60, time=480)])]
    ).save(short)
    assert START_S > 1
    found = [(family, name) for family, name, _ in pieces.test_set([song, short], SECONDS)]
    assert [f for f in found if f[1] == "minute"] == [(family, "minute") for family in (*FAMILIES, BAND)]
    assert {f for f in found if f[1] == "short"} == {(BAND, "short")}  # its drums


SOUNDS: dict[str, Callable[[], tuple[list[Event], float]]] = {
    "phrase": lambda: pieces.phrase(40),
    "crescendo": lambda: pieces.crescendo(40, (10, 60, 127)),
    "strokes": lambda: pieces.strokes((36, 42, 49)),
    "chords": lambda: pieces.chord_changes(40, np.random.default_rng(0)),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_single_sounds_end_in_time(name: str) -> None:
    events, length_s = SOUNDS[name]()
    assert_ends_in_time(events, length_s)
    if name != "strokes":
        assert events[0] == Event(0.0, PROGRAM, 40)


def test_a_crescendo_has_a_velocity_each_second() -> None:
    found = onsets(SOUNDS["crescendo"]()[0])
    assert [(e.time_s, e.data2) for e in found] == [(pytest.approx(0.1 + k), v) for k, v in enumerate((10, 60, 127))]


@pytest.mark.parametrize("seed", range(4))
def test_onsets_of_single_notes_lie_anywhere_within_a_frame(seed: int) -> None:
    events, onsets_s, length_s = pieces.single_notes(5, 20, seed)
    assert_ends_in_time(events, length_s)
    assert [e.time_s for e in onsets(events)] == onsets_s
    within = [(t - 0.1) % 1.0 for t in onsets_s]
    assert 0 <= min(within) < 0.006 < 0.014 < max(within) < 0.02


def test_chords_end_where_others_begin() -> None:
    """To the last bit: two events of one moment are what bursts came from."""
    events, _ = SOUNDS["chords"]()
    begins = {e.time_s for e in onsets(events)}
    ends = {e.time_s for e in events if e.kind == NOTE_OFF}
    assert ends - begins == {max(ends)}


def notes(*rows: tuple[float, float, int]) -> Performance:
    return Performance([Note(on, pitch, 100, 0, 0, offset_s=off) for on, off, pitch in rows], {})


def test_notes_that_were_played_are_intervals_and_hertz() -> None:
    performance = notes((0.5, 0.9, 69), (1.0, math.inf, 57), (1.5, 1.5, 81), (3.0, 4.0, 60))
    drum = Note(0.1, 38, 100, 0, 9, True, offset_s=0.2)
    intervals, hertz = played(Performance([drum, *performance.notes], {}), until_s=2.5)
    np.testing.assert_allclose(intervals, [(0.5, 0.9), (1.0, 2.5), (1.5, 1.52)])
    np.testing.assert_allclose(hertz, [440, 220, 880])
    assert played(notes(), 1.0)[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("heard", "f1"),
    [
        ([(0.5, 0.9, 69), (1.0, 2.0, 57)], 1.0),
        ([(0.54, 3.0, 69), (0.96, 1.1, 57)], 1.0),  # 40 ms off, and held for another time
        ([(0.56, 0.9, 69), (1.0, 2.0, 57)], 0.5),  # 60 ms off
        ([(0.5, 0.9, 70), (1.0, 2.0, 57)], 0.5),  # a semitone off
        ([(0.5, 0.9, 69)], 2 / 3),
        ([(0.5, 0.9, 69), (1.0, 2.0, 57), (1.2, 1.3, 57), (1.4, 1.5, 57)], 2 / 3),
        ([], 0.0),
    ],
)
def test_a_note_is_right_within_fifty_milliseconds_and_half_a_semitone(heard: list[tuple[float, float, int]], f1: float) -> None:
    truth = played(notes((0.5, 0.9, 69), (1.0, 2.0, 57)), 9.0)
    assert note_f1(truth, played(notes(*heard), 9.0)) == pytest.approx(f1)
    assert note_f1(played(notes(), 9.0), truth) == 0.0
