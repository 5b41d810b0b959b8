"""Small files that once played wrongly, each for one kind of error: pitch, level and onsets of their sound."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from specdiffd.base.errors import MidiFileError
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.instruments.loading import load_builtin_family
from specdiffd.midi.file import read_song
from specdiffd.midi.score import Score
from specdiffd.render import open_song, render_file

CASES = Path(__file__).parent / "cases"
RATE = 48000
# General MIDI: 40 log10 of the volume, from 100 without controller 7; as FluidSynth has it (-15.9 dB at 40).
VOLUME_40_DB, VOLUME_50_DB = -15.9, -12.0
Audio = NDArray[np.float32]
Play = Callable[[str], Audio]


@pytest.fixture(scope="module")
def instrument() -> SpectrogramInstrument:
    return load_builtin_family("builtin")


@pytest.fixture(scope="module")
def play(instrument: SpectrogramInstrument, tmp_path_factory: pytest.TempPathFactory) -> Play:
    folder = tmp_path_factory.mktemp("cases")
    heard: dict[str, Audio] = {}

    def played(name: str) -> Audio:
        if name not in heard:
            path = folder / f"{name}.wav"
            render_file(instrument, open_song(instrument, CASES / f"{name}.mid"), path)
            heard[name], rate = soundfile.read(path, dtype="float32")
            assert rate == RATE
        return heard[name]

    return played


def level_db(audio: Audio, at_s: float, seconds: float = 0.25) -> float:
    piece = audio[round(at_s * RATE) : round((at_s + seconds) * RATE)]
    return float(10 * np.log10(np.mean(piece**2) + 1e-12)) if len(piece) else -120.0


def pitch_hz(audio: Audio, at_s: float, near_hz: float) -> float:
    """The loudest frequency within four semitones, by the centre of its peak."""
    piece = audio[round(at_s * RATE) : round((at_s + 1.0) * RATE)]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 1 << 18)) ** 2
    hz = np.arange(len(spectrum)) * RATE / (1 << 18)
    spectrum[(hz < near_hz / 1.26) | (hz > near_hz * 1.26)] = 0
    k = int(np.argmax(spectrum))
    return float(np.average(hz[k - 8 : k + 9], weights=spectrum[k - 8 : k + 9]))


def onsets_s(audio: Audio) -> list[float]:
    """Times at which the level rises by 9 dB within 20 ms, from silence or from a held note."""
    step = RATE // 200
    power = np.convolve((audio[: len(audio) // step * step].reshape(-1, step) ** 2).mean(1), np.ones(2) / 2)
    db = 10 * np.log10(power + 1e-9)
    before = np.concatenate((np.full(4, -90.0), db[:-4]))
    rises = np.flatnonzero((db > before + 9) & (db > db.max() - 30))
    return [float(k) * step / RATE for j, k in enumerate(rises) if j == 0 or k - rises[j - 1] > 10]


@pytest.mark.parametrize(
    ("name", "expected_s"),
    [
        ("s01_tempo_track2", [0, 1, 2, 3]),
        ("s02_format2", [0, 1, 1.5, 2.5]),
        ("s03_smpte25x40", [0, 1, 2]),
        ("s05_rs_sysex", [0, 1]),
        ("s10_rmid", [0, 1]),
        ("s13_tempo0", [0, 1, 2]),
        ("s15_keysig_bad", [0]),
        ("s15c_timesig0", [0]),
        ("s15f_metalen", [0]),
        ("s17_databyte_high", [0, 1]),
        ("s25_eot_late", [0]),
        ("s26_zero_len", [0, 1, 2]),
    ],
)
def test_onsets(play: Play, name: str, expected_s: list[float]) -> None:
    assert onsets_s(play(name)) == pytest.approx(expected_s, abs=0.02)


@pytest.mark.parametrize(
    ("name", "at_s", "hertz"), [("c04_rpn_bend12", 2.5, 880.0), ("c05_rpn_coarse", 1.0, 220.0), ("y2_nrpn_after_rpn", 2.5, 466.16)]
)
def test_pitch(play: Play, name: str, at_s: float, hertz: float) -> None:
    assert 1200 * np.log2(pitch_hz(play(name), at_s, hertz) / hertz) == pytest.approx(0, abs=15)


@pytest.mark.parametrize(
    ("name", "at_s", "reference", "reference_at_s", "change_db"),
    [
        ("c22_cc_other_track", 0.5, "c14_cc120", 0.5, VOLUME_40_DB),
        ("c21d_vol_nostraggler", 2.3, "c21d_vol_nostraggler", 0.3, VOLUME_40_DB),
        ("c20_pc_midnote", 3.0, "c20_pc_midnote", 1.0, 0),
        ("c20_pc_midnote", 3.0, "c03_gm_mastervol", 1.0, 0),  # the same organ
        ("c15b_cc121_expr", 2.5, "c14_cc120", 1.5, 0),
        ("c25_pedal_to_end", 3.5, "c25_pedal_to_end", 0.3, 0),
        ("p04_pedal_retake_same_tick", 2.5, "p04_pedal_retake_same_tick", 1.2, 0),
    ],
)
def test_levels(play: Play, name: str, at_s: float, reference: str, reference_at_s: float, change_db: float) -> None:
    assert level_db(play(name), at_s) - level_db(play(reference), reference_at_s) == pytest.approx(change_db, abs=1.5)


def test_a_drum_part_in_two_tracks_has_one_volume(play: Play) -> None:
    """Controller 7 in the first track, strokes in the second."""
    assert level_db(play("x4_drums_tracks_dup"), 0.0) - level_db(play("c24_kit_brush"), 0.0) == pytest.approx(VOLUME_50_DB, abs=1)


def test_the_volume_stays_through_a_program_change(play: Play) -> None:
    """The third note is another organ's; at full volume the two are equally loud within half a dB."""
    softer_db = level_db(play("c21d_vol_nostraggler"), 4.3) - level_db(play("c21d_vol_nostraggler"), 0.3)
    assert softer_db == pytest.approx(VOLUME_40_DB, abs=1)


@pytest.mark.parametrize(
    ("name", "sounds_s", "silent_s"),
    [
        ("c14_cc120", 1.7, 2.4),
        ("c14c_cc123_nooff", 1.7, 2.4),
        ("c30_gmreset_mid", 1.7, 2.4),
        ("c29_pedal_before_chord", 0.2, 0.9),
        ("c25_pedal_to_end", 3.7, 4.4),
        ("p04_pedal_retake_same_tick", 2.7, 3.4),
        ("c23_hihat_tracks", 0.3, 0.8),
    ],
)
def test_sounds_end(play: Play, name: str, sounds_s: float, silent_s: float) -> None:
    assert level_db(play(name), silent_s) < level_db(play(name), sounds_s, 0.15) - 18


def test_programs_of_another_track_hold(instrument: SpectrogramInstrument) -> None:
    notes = Score().extend(read_song(CASES / "x5_pc_track0_all.mid").events).performance.notes
    assert [n.program for n in notes] == [73, 40, 56]


def test_a_file_lasts_until_its_last_event(play: Play) -> None:
    assert len(play("s25_eot_late")) / RATE == pytest.approx(10.0, abs=0.01)
    assert len(play("s18c_no_notes")) / RATE == pytest.approx(2.0, abs=0.01)
    assert np.abs(play("s18c_no_notes")).max() == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("s18b_header_only", "header, byte 14: no track follows"),
        ("p05_gap_20h", "lasts 20.0 hours, expected at most 12"),
        ("p07_late_end_of_track", "lasts 932.1 hours, expected at most 12"),
    ],
)
def test_a_file_that_cannot_be_played_is_refused(name: str, says: str) -> None:
    with pytest.raises(MidiFileError, match=says):
        read_song(CASES / f"{name}.mid")
