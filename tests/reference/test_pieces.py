"""The pieces that networks learn from, their rendering, and the bank that holds them."""

from dataclasses import astuple
from pathlib import Path

import mido
import numpy as np
import pytest

from specdiffd.base.errors import DeviceError
from specdiffd.base.events import Event
from specdiffd.base.messages import DRUM_CHANNEL, NOTE_OFF, NOTE_ON, PROGRAM
from specdiffd.midi.score import Score
from specdiffd.reference.fluid import FluidRenderer
from specdiffd.reference.generated import generated_piece
from specdiffd.reference.pieces import random_piece, solo_piece
from specdiffd.reference.songs import song_piece, tracks_of
from specdiffd.train.data import PieceBank

RATE = 16000


@pytest.fixture
def song(tmp_path: Path) -> Path:
    file = mido.MidiFile(ticks_per_beat=480)
    tempo = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000), mido.MetaMessage("set_tempo", tempo=1_000_000, time=960)])
    notes = mido.MidiTrack()
    for pitch in (60, 64, 67):
        notes += [mido.Message("note_on", note=pitch, velocity=80), mido.Message("note_off", note=pitch, time=960)]
    file.tracks += [tempo, notes]
    file.save(tmp_path / "song.mid")
    return tmp_path / "song.mid"


def test_tracks_follow_the_tempo_map(song: Path) -> None:
    (notes,) = tracks_of(song)
    assert [(on, off, pitch) for on, off, pitch, _ in notes] == [(0, 1, 60), (1, 3, 64), (3, 5, 67)]


@pytest.mark.parametrize("seed", range(12))
def test_pieces_are_in_order_and_end_what_they_begin(seed: int, song: Path) -> None:
    events = random_piece(np.random.default_rng(seed), [song], 8.0)
    assert [e.time_s for e in events] == sorted(e.time_s for e in events)
    on = [e for e in events if e.kind == NOTE_ON]
    assert on
    assert len(on) == sum(e.kind == NOTE_OFF for e in events)
    assert all(1 <= e.data2 <= 127 and 0 <= e.data1 <= 127 for e in on)
    assert all(e.time_s >= 0 for e in events)


def test_equal_seeds_give_equal_pieces(song: Path) -> None:
    made = [song_piece(np.random.default_rng(4), song, 5.0) for _ in range(2)]
    assert made[0] == made[1]


def test_generated_music_covers_programs_and_the_kit() -> None:
    rng = np.random.default_rng(0)
    programs, drums = set(), set()
    for _ in range(700):
        for e in generated_piece(rng, 2.0):
            if e.kind == PROGRAM:
                programs.add(e.data1)
            if e.kind == NOTE_ON and e.channel == DRUM_CHANNEL:
                drums.add(e.data1)
    assert len(programs) == 128
    assert drums >= set(range(35, 82))


def test_solos_are_one_program_each_one_key_at_a_time() -> None:
    programs, drummed, keys = set(), set(), set()
    for seed in range(800):
        events = solo_piece(np.random.default_rng(seed), (), 20.0)
        assert len({e.status & 0x0F for e in events}) == 1
        struck = [e for e in events if e.kind == NOTE_ON]
        assert [e.data1 for e in events if e.kind in (NOTE_ON, NOTE_OFF)] == [e.data1 for e in struck for _ in range(2)]
        if events[0].channel == DRUM_CHANNEL:
            drummed |= {e.data1 for e in struck}
        else:
            programs.add(events[0].data1)
            keys |= {e.data1 for e in struck}
    assert len(programs) == 128
    assert keys == set(range(21, 109))
    assert drummed == set(range(35, 82))


def test_fluidsynth_renders_in_time_and_in_tune() -> None:
    events = [Event(0.5, NOTE_ON, 69, 100), Event(1.5, NOTE_OFF, 69, 0)]
    audio = FluidRenderer(sample_rate_hz=RATE).render(events, 2.0)
    assert len(audio) == 2 * RATE
    assert np.abs(audio[: RATE // 2]).max() < 1e-6
    assert np.abs(audio[RATE // 2 : RATE // 2 + RATE // 20]).max() > 1e-3
    spectrum = np.abs(np.fft.rfft(audio[RATE // 2 : RATE // 2 + RATE]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)


def test_renderings_do_not_depend_on_what_was_rendered_before() -> None:
    renderer = FluidRenderer(sample_rate_hz=RATE)
    piece = [Event(0.0, PROGRAM, 48, 0), Event(0.1, NOTE_ON, 60, 100)]
    renderer.render(piece, 0.5)  # FluidSynth's very first note begins a little softer
    first = renderer.render(piece, 0.5)
    renderer.render([Event(0.0, 0xB0, 7, 10), Event(0.0, 0xE0, 0, 100), Event(0.1, NOTE_ON, 50, 127)], 0.5)
    np.testing.assert_allclose(renderer.render(piece, 0.5), first, atol=2e-4)
    for channel in (0, DRUM_CHANNEL):  # a pad and a cymbal, which ring on
        renderer.render([Event(0.0, PROGRAM | channel, 95, 0), Event(0.0, NOTE_ON | channel, 49, 127)], 0.5)
        assert np.abs(renderer.render([], 0.5)).max() < 1e-6


def test_a_missing_soundfont_is_named() -> None:
    with pytest.raises(DeviceError, match=r"/nowhere\.sf2 not found"):
        FluidRenderer("/nowhere.sf2")


def test_bank_holds_score_and_sound_and_renews_them(song: Path) -> None:
    with PieceBank([song], RATE, pieces=2, duration_s=2.0) as bank:
        first = bank.pieces[0]
        assert first.audio.shape == (2 * RATE,)
        score = Score().extend(first.events).performance
        assert [astuple(n) for n in first.performance.notes] == [astuple(n) for n in score.notes]
        assert first.performance.controllers == score.controllers
        for _ in range(100):
            if bank.pieces[0] is not first:
                break
            bank._stop.wait(0.1)
        bank.draw(np.random.default_rng(0))  # raises if the thread has failed
        assert bank.pieces[0] is not first
