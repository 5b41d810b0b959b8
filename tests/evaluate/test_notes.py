"""The arithmetic of the evaluation: pieces, played notes, scores, table."""

from pathlib import Path

import mido
import numpy as np
import pytest

from specdiffd.base.events import Event, Performance
from specdiffd.base.messages import DRUM_CHANNEL, NOTE_ON, PROGRAM
from specdiffd.evaluate.notes import Row, table
from specdiffd.evaluate.pieces import BAND, BAND_PROGRAMS, FAMILIES, family_piece, test_set
from specdiffd.evaluate.rendering import copy_synthesis, timed_rendering
from specdiffd.evaluate.transcribe import note_f1, played
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.midi.score import Score

test_set.__test__ = False  # type: ignore[attr-defined]  # pytest takes its name for a test's


@pytest.fixture
def song(tmp_path: Path) -> Path:
    file = mido.MidiFile(ticks_per_beat=480)
    for base in (72, 60, 48):
        track = mido.MidiTrack()
        for k in range(30):
            track += [mido.Message("note_on", note=base + k % 7, velocity=80), mido.Message("note_off", note=base + k % 7, time=960)]
        file.tracks.append(track)
    file.save(tmp_path / "song.mid")
    return tmp_path / "song.mid"


@pytest.mark.parametrize("family", [*FAMILIES, BAND])
def test_families_have_their_programs(family: str, song: Path) -> None:
    events = family_piece(song, family, 6.0)
    programs = [e.data1 for e in events if e.kind == PROGRAM]
    if family == BAND:
        assert programs == list(BAND_PROGRAMS)
    else:
        assert len(set(programs)) == 3
        assert {program // 8 for program in programs} == {FAMILIES.index(family)}
    assert any(e.kind == NOTE_ON and e.channel == DRUM_CHANNEL for e in events) == (family == BAND)
    lowest = min(e.data1 for e in events if e.kind == NOTE_ON and e.channel == 2)
    assert lowest < 40 if family in (BAND, "bass") else lowest >= 48
    assert max(e.time_s for e in events if e.kind == NOTE_ON) <= 5


def test_truth_leaves_drums_out(song: Path) -> None:
    score = Score().extend(family_piece(song, "band", 6.0)).performance
    intervals, hz = played(score, 6.0)
    assert len(hz) == sum(not n.is_drum for n in score.notes) < len(score.notes)
    assert (intervals[:, 1] > intervals[:, 0]).all()


def test_f1() -> None:
    truth = np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([440.0, 220.0])
    assert note_f1(truth, truth) == 1.0
    assert note_f1(truth, (truth[0] + 0.1, truth[1])) == 0.0
    assert note_f1(truth, (truth[0], truth[1] * 2)) == 0.0
    assert note_f1(truth, (truth[0][:1], truth[1][:1])) == pytest.approx(2 / 3)
    assert note_f1(truth, (np.zeros((0, 2)), np.zeros(0))) == 0.0


def test_table_gives_ratios_to_the_reference() -> None:
    rows = [
        Row(v, f, "a", f1, 0.5, 0.7, 0.1, np.zeros(0, np.float32))
        for v, f, f1 in [("reference", "x", 0.8), ("reference", "y", 0.4), ("m", "x", 0.4), ("m", "y", 0.4)]
    ]
    ratios = {(r["variant"], r["family"]): r["ratio"] for r in table(rows)}
    assert ratios["m", "x"] == 0.5
    assert ratios["m", "y"] == 1.0
    assert ratios["m", "all"] == pytest.approx(2 / 3, abs=1e-3)


def test_there_is_no_ratio_to_a_reference_without_notes() -> None:
    rows = [Row(v, "x", "a", f1, 0.5, 0.7, 0.1, np.zeros(0, np.float32)) for v, f1 in [("reference", 0.0), ("m", 0.1)]]
    assert [r["ratio"] for r in table(rows)] == [None] * 4


def test_renderings_are_as_long_as_asked(instrument: SpectrogramInstrument, events: list[Event], performance: Performance) -> None:
    audio, factor = timed_rendering(instrument, events, 2.0)
    assert audio.shape == (2 * instrument.sample_rate_hz,)
    assert np.abs(audio).max() > 0
    assert factor > 0
    alone, guided = copy_synthesis(instrument, audio), copy_synthesis(instrument, audio, performance)
    assert alone.shape == guided.shape == audio.shape
    assert np.abs(alone - guided).max() > 1e-4
