"""Figures of live playing, each in real time through JACK (``make test-live``, half an hour); they are printed at the end."""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers import RATE, Audio, Peer, Server, level, running_daemon

from specdiffd.control.client import ControlClient
from specdiffd.demo.play import PERFORMANCE, read_events
from specdiffd.engine import Engine, settings_for
from specdiffd.events import Event
from specdiffd.fakes import VirtualStream
from specdiffd.io.timeline import Timeline
from specdiffd.loading import load_builtin_family
from specdiffd.midi.score import Score

pytestmark = pytest.mark.live
FIGURES: dict[str, Any] = {}
HAS_BF16_UNITS = any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))
LATENCY_MS = 35 if HAS_BF16_UNITS else 80


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    yield
    sys.stdout.write(json.dumps(FIGURES, indent=2) + "\n")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ControlClient]:
    with Server(tmp_path), running_daemon(tmp_path) as client:
        yield client


def onset_ms(audio: Audio, struck_s: float, until_s: float) -> float:
    """From a key to its sound: where the magnitude first passes 5 % of the note's peak and twice what was there before."""
    at = round(struck_s * RATE)
    before, note = np.abs(audio[at - RATE // 10 : at]), np.abs(audio[at : round(until_s * RATE)])
    threshold = max(0.05 * note.max(), 2 * before.max())
    return float(np.argmax(note > threshold)) / RATE * 1e3 if note.max() > max(1e-4, threshold) else np.nan


def late(client: ControlClient) -> float:
    """Share of late splices, nothing missing or stale."""
    counters = client.call("status")["counters"]
    assert counters["missing_samples"] == counters["stale_fades"] == counters["dropped_events"] == 0
    return float(counters["late_splices"] / counters["revisions"])


def song(tempo: float, seconds: float) -> list[tuple[float, bytes]]:
    """The bundled performance, over and over, at another tempo."""
    events = read_events(PERFORMANCE, None)
    length_s, found = events[-1][0] + 0.1, []
    for k in range(int(seconds * tempo / length_s) + 1):
        found += [((at_s + k * length_s) / tempo, bytes(message)) for at_s, message in events]
    return [(at_s, message) for at_s, message in found if at_s < seconds]


@pytest.mark.parametrize("run", range(3))
def test_single_notes(daemon: ControlClient, run: int) -> None:
    rng = np.random.default_rng(run)
    struck = 0.5 + 0.5 * np.arange(200) + rng.uniform(0, 0.05, 200)
    pitches = rng.integers(52, 84, 200)
    events = [(0.0, bytes([0xC0, 0]))]
    for at_s, pitch in zip(struck, pitches, strict=True):
        events += [(at_s, bytes([0x90, pitch, 100])), (at_s + 0.22, bytes([0x80, pitch, 0]))]
    with Peer() as peer:
        audio = peer.play(events, struck[-1] + 1.0)
    ms = np.array([onset_ms(audio, at_s, at_s + 0.22) for at_s in struck])
    assert not np.isnan(ms).any()
    p5, p50, p95 = np.percentile(ms, (5, 50, 95))
    FIGURES[f"single notes, run {run}"] = {
        "p50_ms": p50,
        "p95_minus_p5_ms": p95 - p5,
        "late": late(daemon),
        "render_delay_ms": daemon.call("status")["render_delay_ms"],
    }
    assert p50 <= LATENCY_MS
    assert p95 - p5 <= 8
    assert late(daemon) <= 0.01


def test_dense_playing(daemon: ControlClient) -> None:
    with Peer() as peer:
        peer.play(song(1.5, 60), 61)
    FIGURES["performance at 1.5 x tempo"] = {"late": late(daemon), "render_delay_ms": daemon.call("status")["render_delay_ms"]}
    assert late(daemon) <= 0.02


def resident(client: ControlClient) -> int:
    """Bytes of memory of engine and I/O."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for name, pid in client.call("status")["processes"].items() if pid]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def busy_s(client: ControlClient) -> float:
    """Processor time of all processes of the daemon so far."""
    processes = [*client.call("status")["processes"].values()]
    parent = Path(f"/proc/{processes[0]}/stat").read_text().split()[3]
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in (parent, *processes) if pid]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def test_ten_minutes_and_a_minute_of_rest(daemon: ControlClient) -> None:
    with Peer() as peer:
        peer.play(song(1.2, 60), 60)
        first = resident(daemon)
        for _ in range(9):
            peer.play(song(1.2, 60), 60)
        last = resident(daemon)
    FIGURES["ten minutes"] = {
        "late": late(daemon),
        "missing_samples": 0,
        "resident_mb": last / 1e6,
        "growth_after_first_minute": last / first - 1,
    }
    assert last / first - 1 < 0.01
    time.sleep(5)
    before = busy_s(daemon)
    time.sleep(60)
    FIGURES["idle, share of a core"] = (busy_s(daemon) - before) / 60
    assert FIGURES["idle, share of a core"] < 0.02


def test_live_is_what_offline_is(daemon: ControlClient) -> None:
    """The recording of a minute, aligned by the render delay, and the offline rendering, against FluidSynth's."""
    pytest.importorskip("basic_pitch")
    import soxr
    import torch

    from specdiffd.audio.mel import log_mel
    from specdiffd.evaluate.notes import timed_rendering
    from specdiffd.evaluate.transcribe import note_f1, played, transcribe
    from specdiffd.train.fluid import FluidRenderer

    seconds = 60.0
    midi = song(1.0, seconds)
    with Peer() as peer:
        audio = peer.play(midi, seconds + 0.5)
    delay = round(daemon.call("status")["render_delay_ms"] / 1e3 * RATE)
    events = [Event(at_s, *message) for at_s, message in midi]
    score = Score().extend(events).performance
    instrument = load_builtin_family("builtin")
    rate = instrument.sample_rate_hz
    found = {
        "reference": soxr.resample(FluidRenderer("fluid", RATE).render(events, seconds), RATE, rate),
        "live": soxr.resample(audio[delay : delay + round(seconds * RATE)], RATE, rate),
        "offline": timed_rendering(instrument, score, seconds)[0],
    }
    mels = {
        name: log_mel(torch.from_numpy(np.ascontiguousarray(x[: round(seconds * rate)]))[None], instrument.format)
        for name, x in found.items()
    }
    distance = {name: float((mels[name] - mels["reference"]).abs().mean()) for name in ("live", "offline")}
    heard = {name: transcribe(found[name], rate) for name in distance}
    f1 = {name: note_f1(played(score, seconds), notes) for name, notes in heard.items()}
    FIGURES["live against offline"] = {
        "log_mel_l1": distance,
        "note_f1": f1,
        "live notes against offline's": note_f1(heard["offline"], heard["live"]),
    }
    assert distance["live"] <= 1.1 * distance["offline"]
    assert abs(f1["live"] - f1["offline"]) <= 0.02


def virtual(events: list[Event], seconds: float) -> Audio:
    """What the engine plays on a virtual clock."""
    timeline = Timeline()
    timeline.clear()
    settings = settings_for(RATE, 256, 3.0, 2.0, 1)
    engine = Engine(load_builtin_family("builtin"), timeline, replace(settings, eager=True))
    return VirtualStream(timeline, engine.play, engine.work, delay_s=0.04).run(events, seconds)[:, 0]


@pytest.mark.parametrize(("program", "goes_on"), [(16, True), (0, False)])
def test_a_note_held_for_three_minutes(program: int, goes_on: bool) -> None:
    """An organ stays, a piano decays; neither pulses with the window's rolls."""
    audio = virtual([Event(0.0, 0xC0, program), Event(0.1, 0x90, 60, 100)], 182)[RATE * 2 :]
    levels = 20 * np.log10(1e-6 + np.array([level(block) for block in audio[: len(audio) // 4800 * 4800].reshape(-1, 4800)]))
    seconds = levels[: len(levels) // 10 * 10].reshape(-1, 10).mean(1)
    FIGURES[f"held for three minutes, program {program}"] = {"first_db": seconds[0], "last_db": seconds[-1], "range_db": np.ptp(seconds)}
    if not goes_on:
        assert seconds[-1] < seconds[0] - 20
        return
    assert np.ptp(seconds) <= 1.0
    modulation = np.abs(np.fft.rfft((levels - levels.mean()) * np.hanning(len(levels))))
    hertz = np.fft.rfftfreq(len(levels), 0.1)
    roll_hz = 50 / 64
    at_roll = modulation[np.abs(hertz - roll_hz) < 0.02].max()
    around = modulation[(np.abs(hertz - roll_hz) > 0.05) & (np.abs(hertz - roll_hz) < 0.4)]
    FIGURES["modulation at the roll rate over its neighbours, dB"] = float(20 * np.log10(at_roll / np.percentile(around, 95)))
    assert FIGURES["modulation at the roll rate over its neighbours, dB"] <= 1.0
