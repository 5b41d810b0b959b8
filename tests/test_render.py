"""Offline rendering, and live against offline."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from specdiffd.audio.mel import log_mel
from specdiffd.engine import Engine, settings_for
from specdiffd.errors import SpecdiffdError, UsageError
from specdiffd.events import Event, Note, Performance
from specdiffd.fakes import SineInstrument, VirtualStream
from specdiffd.formats import MelFormat
from specdiffd.instrument import SpectrogramInstrument
from specdiffd.io.timeline import Timeline
from specdiffd.loading import load_instrument
from specdiffd.midi.score import Score
from specdiffd.render import find_songs, output_paths, render_file, stretches

RATE = 48000


def sines(*spans: tuple[float, float]) -> Performance:
    return Performance([Note(a, 60 + k % 12, 100, 0, 0, False, b) for k, (a, b) in enumerate(spans)], Score().performance.controllers)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_every_sample_is_right_and_the_end_is_the_release(tmp_path: Path, rate: int) -> None:
    song = sines((0.0, 0.5), (0.4, 3.0), (8.0, 8.2), (8.1, 9.0))
    result = render_file(SineInstrument(), song, tmp_path / "a.wav", rate)
    audio, found_rate = soundfile.read(tmp_path / "a.wav")
    assert found_rate == rate
    expected = SineInstrument.sound(song, np.arange(len(audio)) / rate)
    assert np.abs(audio - expected).max() < 3e-4
    assert 9.0 < result.duration_s <= 9.0 + SineInstrument.ring_s + 0.01
    assert result.peak == pytest.approx(np.abs(audio).max(), abs=1e-4)


def test_an_empty_song_is_an_empty_file(tmp_path: Path) -> None:
    assert render_file(SineInstrument(), sines(), tmp_path / "a.wav").duration_s == 0


def test_memory_does_not_grow_with_the_song(tmp_path: Path) -> None:
    def peak(minutes: int) -> int:
        song = sines(*((t, t + 0.4) for t in np.arange(0, minutes * 60, 0.5).tolist()))
        tracemalloc.start()
        render_file(SineInstrument(), song, tmp_path / "a.wav", 48000)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(8) < 1.3 * peak(1)


def test_silence_costs_nothing() -> None:
    pieces = list(stretches(SineInstrument(), sines((0.0, 1.0), (3600.0, 3601.0))))
    assert len(pieces) < 8


def test_an_unwritable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecdiffdError, match="cannot write"):
        render_file(SineInstrument(), sines((0, 1)), tmp_path / "none" / "a.wav")


def test_songs_and_outputs(tmp_path: Path) -> None:
    for name in ("b.mid", "x/a.MID", "x/y/c.midi", "x/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"")
    songs = find_songs([tmp_path / "b.mid", tmp_path / "x"])
    assert [s.name for s in songs] == ["b.mid", "a.MID", "c.midi"]
    assert [p.name for p in output_paths(songs, tmp_path / "out")] == ["b.wav", "a.wav", "c.wav"]
    assert output_paths(songs[:1], None) == [tmp_path / "b.wav"]
    assert output_paths(songs[:1], tmp_path / "z.wav") == [tmp_path / "z.wav"]
    with pytest.raises(UsageError, match="name a folder"):
        output_paths(songs, tmp_path / "z.wav")
    with pytest.raises(UsageError, match="two songs"):
        output_paths([songs[0], songs[0]], tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        find_songs([tmp_path / "none.mid"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no MIDI files in"):
        find_songs([tmp_path / "empty"])


def live(instrument: SpectrogramInstrument, events: list[Event], seconds: float, delay_s: float) -> np.ndarray:
    timeline = Timeline()
    timeline.clear()
    engine = Engine(instrument, timeline, settings_for(RATE, 256, 10.0, 2.0, 1))
    stream = VirtualStream(timeline, engine.play, engine.work, delay_s=delay_s)
    heard = stream.run(events, seconds)[:, 0]
    assert engine.counters.late_splices == engine.counters.stale_fades == 0
    return heard


def test_live_equals_offline(tmp_path: Path, events: list[Event]) -> None:
    """The same song through the live engine and through ``render``, with the built-in instrument.

    Apart from the delay they differ in where stretches begin (frames sampled together see each other's noise, known ones
    are clean), in frames that were half heard when an event changed them, and within the splices. Stated tolerance: the
    log-mels differ by less than 0.15 nepers in the mean, and the difference of the waveforms has less than 15 % of the energy.
    """
    delay_s = 0.06
    instrument = load_instrument("builtin", dtype="float32")
    song = Score().extend(e._replace(time_s=e.time_s + delay_s) for e in events).performance
    render_file(instrument, song, tmp_path / "a.wav", RATE)
    offline, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    heard = live(instrument, events, 4.0, delay_s)
    samples = min(len(offline), len(heard))
    fmt = MelFormat(RATE, 960, 1920, 2048, 80, 0, 8000)
    mels = [log_mel(torch.from_numpy(x[:samples].copy()), fmt).clamp_min(math.log(1e-3)) for x in (offline, heard)]
    assert float((mels[0] - mels[1]).abs().mean()) < 0.15
    assert np.sum((offline[:samples] - heard[:samples]) ** 2) < 0.15 * np.sum(offline[:samples] ** 2)
