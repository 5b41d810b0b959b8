"""Bursts are found where they are planted, and nowhere else."""

import numpy as np
import pytest
from test_sounds import RATE, Impostor

from specdiffd.evaluate import bursts
from specdiffd.evaluate.bursts import evaluate_bursts, excess_db
from specdiffd.evaluate.pieces import chord_changes
from specdiffd.evaluate.rendering import Audio
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.midi.score import Score


def planted(audio: Audio, at_s: float, factor: float) -> Audio:
    """``audio`` with 5 ms of a tone before ``at_s``, ``factor`` times as loud as its loudest within 30 ms."""
    first, last = round((at_s - 0.005) * RATE), round(at_s * RATE)
    nearby = np.abs(audio[first - round(0.04 * RATE) : last + round(0.04 * RATE)]).max()
    spoilt = audio.copy()
    spoilt[first:last] = factor * nearby * np.sin(np.arange(last - first))
    return spoilt


def test_bursts_are_found_and_nothing_else_is(instrument: SpectrogramInstrument, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level of the whole does not matter, nor do onsets that are some milliseconds off."""
    monkeypatch.setattr(bursts, "PROGRAMS", 6)
    late = evaluate_bursts(Impostor(instrument, lambda audio: np.float32(0.3) * np.roll(audio, RATE // 100)))
    assert late["programs_over_9_db"] == 0
    assert late["worst_db"] < 5
    played = []

    def spoil(audio: Audio) -> Audio:
        played.append(planted(audio, 0.6, 4.0) if len(played) == 4 else audio)
        return played[-1]

    found = evaluate_bursts(Impostor(instrument, spoil))
    assert (found["programs_over_9_db"], found["worst_program"], list(found["over"])) == (1, 4, [4])
    assert found["worst_db"] == pytest.approx(12, abs=1.5)


def test_silence_is_no_burst_and_a_sound_in_it_is() -> None:
    silence, click = np.zeros(RATE, np.float32), np.zeros(RATE, np.float32)
    click[RATE // 2] = 0.1
    assert excess_db(silence, silence, RATE).max() == excess_db(silence, click, RATE).max() == 0
    assert excess_db(click, silence, RATE).max() == pytest.approx(60, abs=0.1)
    assert excess_db(click, np.roll(click, RATE // 40), RATE).max() < 0.1  # 25 ms off


def test_chords_end_as_new_ones_begin() -> None:
    """A key that is struck at the moment of its release gives a new note, and both have their full length."""
    for seed in range(8):
        events, duration_s = chord_changes(40, np.random.default_rng(seed))
        notes = Score().extend(events).performance.notes
        assert {n.program for n in notes} == {40}
        assert len(notes) == 48
        assert min(n.offset_s - n.onset_s for n in notes) > 0.06
        assert max(n.offset_s for n in notes) == pytest.approx(duration_s - 2)
