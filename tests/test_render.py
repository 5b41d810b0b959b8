"""Offline rendering, and live against offline."""

import math
import os
import subprocess
import sys
import tracemalloc
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from virtual_stream import VirtualStream

from specdiffd.base.errors import SpecdiffdError
from specdiffd.base.events import Event
from specdiffd.base.formats import MelFormat
from specdiffd.dsp.mel import log_mel
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.instruments.loading import load_instrument
from specdiffd.instruments.sine import SineInstrument
from specdiffd.midi.score import Score
from specdiffd.player.engine import Engine
from specdiffd.player.settings import settings_for
from specdiffd.render import Rendering, RenderSettings, render_file, stretches
from specdiffd.shared.timeline import Timeline

RATE = 48000


def sines(*spans: tuple[float, float]) -> list[Event]:
    """A note for each (onset, offset)."""
    rows = chain.from_iterable((Event(a, 0x90, 60 + k % 12, 100), Event(b, 0x80, 60 + k % 12)) for k, (a, b) in enumerate(spans))
    return sorted(rows, key=lambda e: e.time_s)


def song(events: list[Event], end_s: float = 0.0) -> Rendering:
    return Rendering(stretches(SineInstrument(), events), end_s, [])


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_every_sample_is_right_and_the_end_is_the_release(tmp_path: Path, rate: int) -> None:
    events = sines((0.0, 0.5), (0.4, 3.0), (8.0, 8.2), (8.1, 9.0))
    result = render_file(SineInstrument(), song(events), tmp_path / "a.wav", RenderSettings(rate))
    audio, found_rate = soundfile.read(tmp_path / "a.wav")
    assert found_rate == rate
    expected = SineInstrument.sound(Score().extend(events).performance, np.arange(len(audio)) / rate)
    assert np.abs(audio - expected).max() < 3e-4
    assert 9.0 < result.duration_s <= 9.0 + SineInstrument.ring_s + 0.01
    assert result.peak == pytest.approx(np.abs(audio).max(), abs=1e-4)


def test_an_empty_song_is_as_long_as_it_says(tmp_path: Path) -> None:
    assert render_file(SineInstrument(), song([]), tmp_path / "a.wav").duration_s == 0
    assert render_file(SineInstrument(), song([], 2.5), tmp_path / "b.wav").duration_s == 2.5
    assert render_file(SineInstrument(), song(sines((0.0, 1.0)), 2.5), tmp_path / "c.wav").duration_s == 2.5


@pytest.mark.parametrize("reverb", [0.0, 0.5])
def test_memory_does_not_grow_with_the_song(tmp_path: Path, reverb: float) -> None:
    def peak(minutes: int) -> int:
        events = sines(*((t, t + 0.4) for t in np.arange(0, minutes * 60, 0.5).tolist()))
        tracemalloc.start()
        render_file(SineInstrument(), song(events), tmp_path / "a.wav", RenderSettings(48000, reverb=reverb))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(8) < 1.3 * peak(1)


def test_hours_of_silence_cost_no_memory(tmp_path: Path) -> None:
    events = sines((0.0, 1.0), (6 * 3600.0, 6 * 3600.0 + 1))
    tracemalloc.start()
    result = render_file(SineInstrument(), song(events, 7 * 3600.0), tmp_path / "a.flac", RenderSettings(8000))
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()
    assert result.duration_s == 7 * 3600
    with soundfile.SoundFile(tmp_path / "a.flac") as file:
        for at_s, loud in ((0.5, True), (3600, False), (6 * 3600 + 0.5, True), (6 * 3600 + 60, False)):
            file.seek(int(at_s * 8000))
            assert (np.abs(file.read(800)).max() > 0.01) == loud


def test_silence_costs_nothing() -> None:
    assert len(list(stretches(SineInstrument(), sines((0.0, 1.0), (3600.0, 3601.0))))) < 8


def test_a_long_song_costs_as_much_a_second_as_a_short_one() -> None:
    """The performance that a stretch is rendered from does not grow: notes and controllers of long ago are dropped."""
    seen = []

    class Counting(SineInstrument):
        def stages(self, performances, *more, **options):  # type: ignore[no-untyped-def]
            p = performances[0]
            seen.append(len(p.notes) + sum(len(curve.times_s) for c in p.controllers.values() for curve in c.curves))
            return super().stages(performances, *more, **options)

    wheel = [Event(0.01 * k, 0xB0, 1, k % 128) for k in range(24_000)]
    notes = sines(*((t, t + 0.4) for t in np.arange(0, 240, 0.1).tolist()))
    for _ in stretches(Counting(), sorted(wheel + notes, key=lambda e: e.time_s)):
        pass
    assert max(seen) < 600


def test_loud_chords_are_limited_and_not_clipped(tmp_path: Path) -> None:
    """Two hundred voices in phase, 14 dB over full scale."""
    events = [Event(0.1, 0x90 | c, 60, 127) for c in range(9)] + [Event(1.0, 0x80 | c, 60) for c in range(9)]
    result = render_file(SineInstrument(), song(events), tmp_path / "a.wav", RenderSettings(48000, gain=6.0))
    audio, _ = soundfile.read(tmp_path / "a.wav")
    assert result.peak < 0.99
    spectrum = np.abs(np.fft.rfft(audio[24000:40000] * np.hanning(16000)))
    fundamental = round(261.63 / 3)
    assert spectrum[3 * fundamental - 6 : 3 * fundamental + 6].max() < 0.01 * spectrum.max()  # clipping makes a third harmonic


def test_an_unwritable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecdiffdError, match=r"cannot write .*a\.wav: .*file is no folder"):
        render_file(SineInstrument(), song(sines((0, 1))), tmp_path / "file" / "a.wav")


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path: Path) -> None:
    """A limit on the file size acts like a full disk."""
    code = f"""
import resource, signal
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
from specdiffd.base.errors import SpecdiffdError
from specdiffd.base.events import Event
from specdiffd.instruments.sine import SineInstrument
from specdiffd.render import Rendering, render_file, stretches
events = [Event(0.0, 0x90, 60, 100), Event(60.0, 0x80, 60)]
try:
    render_file(SineInstrument(), Rendering(stretches(SineInstrument(), events), 60.0, []), Path({str(tmp_path / "a.wav")!r}))
except SpecdiffdError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == f"cannot write {tmp_path / 'a.wav'}: File too large\n"
    assert os.listdir(tmp_path) == []


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
    later = [e._replace(time_s=e.time_s + delay_s) for e in events]
    render_file(instrument, Rendering(stretches(instrument, later), 0.0, []), tmp_path / "a.wav", RenderSettings(RATE))
    offline, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    heard = live(instrument, events, 4.0, delay_s)
    samples = min(len(offline), len(heard))
    fmt = MelFormat(RATE, 960, 1920, 2048, 80, 0, 8000)
    mels = [log_mel(torch.from_numpy(x[:samples].copy()), fmt).clamp_min(math.log(1e-3)) for x in (offline, heard)]
    assert float((mels[0] - mels[1]).abs().mean()) < 0.15
    assert np.sum((offline[:samples] - heard[:samples]) ** 2) < 0.15 * np.sum(offline[:samples] ** 2)
