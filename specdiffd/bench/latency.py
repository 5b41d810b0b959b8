"""One revision, from the event to the splice, taken apart."""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from specdiffd.base.events import Controllers, Event, Note, Performance
from specdiffd.base.messages import NOTE_OFF, NOTE_ON
from specdiffd.base.metrics import Stopwatch
from specdiffd.base.sizes import SIZES
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.player.engine import Engine
from specdiffd.player.settings import EngineSettings
from specdiffd.prior.note_features import note_features
from specdiffd.shared.timeline import Timeline


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were taken on: processor, cores, torch's version and device, the GPU's name."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            model = next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {"processor": model, "cores": os.cpu_count(), "torch": torch.__version__, "device": name}


def finished(device: torch.device) -> Callable[[], object]:
    """What waits until a device has done all that it was given."""
    return lambda: getattr(torch, device.type).synchronize()


@torch.inference_mode()
def bench_decoder(instrument: SpectrogramInstrument, frames: int, repeats: int) -> dict[str, Any]:
    """One step of the decoder on the last ``frames`` of a window whose others are cached, and on the whole window.

    The two alternate. A causal decoder does the first; without causality every step would be the second. The instrument must
    have been loaded without graphs: there is none of a whole window, and graphs against PyTorch would be another comparison.
    """
    decoder, bins, whole = instrument.decoder, instrument.format.mel_bins, instrument.window_frames
    torch.manual_seed(0)
    x, prior = torch.randn(2, 1, whole, bins, device=instrument.device)
    encodings = torch.randn(1, 512, decoder.config.d_model, device=instrument.device)
    conditioning = decoder.condition(encodings.to(decoder.spec_out.weight.dtype), torch.zeros(1, 512, device=instrument.device))
    films = decoder.schedule(torch.ones(1, device=instrument.device)).at(torch.zeros(1, 1, dtype=torch.int64, device=instrument.device))
    empty = decoder.init_state(1)
    before = slice(0, whole - frames)
    _, cached = decoder.step(x[:, before], prior[:, before], films, conditioning, empty)
    settle = finished(instrument.device)
    times: dict[str, list[float]] = {"cached": [], "whole": []}
    for k in range(repeats + repeats // 5):
        for name, count, state in (("cached", frames, cached), ("whole", whole, empty)):
            started = time.perf_counter()
            decoder.step(x[:, -count:], prior[:, -count:], films, conditioning, state)
            settle()
            if k >= repeats // 5:
                times[name].append(1e3 * (time.perf_counter() - started))
    return {
        "machine": machine(instrument.device),
        "frames": frames,
        "window_frames": whole,
        "cached_p50_ms": round(float(np.median(times["cached"])), 2),
        "whole_p50_ms": round(float(np.median(times["whole"])), 2),
    }


@torch.inference_mode()
def bench_vocoder(instrument: SpectrogramInstrument, frames: int, repeats: int) -> dict[str, Any]:
    """The vocoder alone, on a chord of eight notes and its guide: ``frames`` at once, and a second in the longest stretches there are graphs of."""
    instrument.warm_up()
    fmt, prior, vocoder = instrument.format, instrument.prior, instrument.vocoder
    notes = [Note(0.0, pitch, velocity=100, program=0, channel=0) for pitch in range(40, 80, 5)]
    performance = Performance(notes, {0: Controllers()})
    features = note_features(performance, fmt.starts_s(0, SIZES.pass_frames), prior.config.window_s, prior.config.ring_s)
    heard = instrument.played(features)
    mel, guides = (x[None].to(instrument.device) for x in (heard.mel, heard.guide))
    state, settle = vocoder.init_state(1), finished(instrument.device)
    times: dict[int, list[float]] = {frames: [], SIZES.pass_frames: []}
    for k in range(repeats + repeats // 5):
        for count, found in times.items():
            started = time.perf_counter()
            vocoder.step(mel[:, :count], state, guides[:, :count])
            settle()
            if k >= repeats // 5:
                found.append(time.perf_counter() - started)
    return {
        "machine": machine(instrument.device),
        "frames": frames,
        "p50_ms": round(1e3 * float(np.median(times[frames])), 2),
        "seconds_per_second": round(float(np.median(times[SIZES.pass_frames])) / (SIZES.pass_frames * fmt.frame_s), 4),
    }


def bench_latency(
    instrument: SpectrogramInstrument, settings: EngineSettings, revisions: int, polyphony: int, spacing_s: float = 0.15
) -> dict[str, Any]:
    """Play ``polyphony`` held notes and strike one after the other anew; time each revision's first splice, its end, its laps, and every piece of work.

    Between revisions the forecast is completed, as it is when a musician plays: known frames are cached, the window rolls.
    A GPU is waited for at the end of each lap.
    """
    instrument.warm_up()
    instrument.stopwatch = Stopwatch(finished(instrument.device))
    timeline = Timeline()
    timeline.clear()
    engine = Engine(instrument, timeline, settings)
    times = _strike(engine, revisions, polyphony, spacing_s)
    p50, p99 = np.percentile(times.totals_s, (50, 99)) * 1e3
    return {
        "machine": machine(instrument.device),
        "dtype": str(instrument.decoder.spec_out.weight.dtype).removeprefix("torch."),
        "device": str(instrument.device),
        "steps": instrument.steps,
        "polyphony": polyphony,
        "urgent_frames": settings.urgent_frames,
        "revisions": len(times.totals_s),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "whole_p50_ms": round(float(np.median(times.wholes_s)) * 1e3, 2),
        "piece_p95_ms": round(float(np.percentile(times.pieces_s, 95)) * 1e3, 2),
        "waterfall_p50_ms": {name: round(float(np.median(values)) * 1e3, 2) for name, values in times.laps_s.items()},
    }


@dataclass
class _Times:
    """Of revisions, in seconds."""

    totals_s: list[float] = field(default_factory=list)  # until the first splice
    wholes_s: list[float] = field(default_factory=list)
    pieces_s: list[float] = field(default_factory=list)  # of work: what an event that comes amid it has to wait for
    laps_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def _strike(engine: Engine, revisions: int, polyphony: int, spacing_s: float) -> _Times:
    """Hold ``polyphony`` notes and strike one after the other anew; the first sixth is not counted."""
    rng, rate = np.random.default_rng(0), engine.settings.sample_rate_hz
    held = [int(p) for p in rng.choice(np.arange(36, 96), size=polyphony, replace=False)]
    for pitch in held:
        engine.play(Event(0.05, NOTE_ON, pitch, 80))
    times = _Times()
    for k in range(revisions + revisions // 5):
        if k == revisions // 5:
            times = _Times()
        while _work(engine, times):
            pass
        engine.timeline.header.playhead += int(rng.uniform(0.5, 1.5) * spacing_s * rate)
        now_s, pitch = engine.timeline.playhead / rate + 0.03, held[k % polyphony]
        engine.play(Event(now_s, NOTE_OFF, pitch, 0))
        engine.play(Event(now_s, NOTE_ON, pitch, int(rng.integers(20, 127))))
        _revise(engine, times)
    return times


def _work(engine: Engine, times: _Times) -> bool:
    begun = time.perf_counter()
    done = engine.work()
    times.pieces_s.append(time.perf_counter() - begun)
    return done


def _revise(engine: Engine, times: _Times) -> None:
    """One revision."""
    started = time.perf_counter()
    while engine.urgent:
        _work(engine, times)
    times.wholes_s.append(time.perf_counter() - started)
    times.totals_s.append(engine.took_s)
    for name, seconds in engine.instrument.stopwatch.laps.items():
        times.laps_s[name].append(seconds)


POLYPHONY, SPACINGS_S, STRETCHES = (1, 8, 32), (0.6, 0.08), (10, 24)


def bench_engine(instrument: SpectrogramInstrument, settings: EngineSettings, revisions: int) -> dict[str, Any]:
    """Revisions by polyphony, by how full of notes the window is, and by the length of the stretch."""
    rows = []
    window_s = instrument.window_frames * instrument.format.frame_s
    for polyphony, spacing_s, frames in itertools.product(POLYPHONY, SPACINGS_S, STRETCHES):
        found = bench_latency(instrument, replace(settings, urgent_frames=frames), revisions, polyphony, spacing_s)
        rows.append(
            {
                "polyphony": polyphony,
                "notes_in_window": round(window_s / spacing_s),
                "frames": frames,
                **{key: found[key] for key in ("p50_ms", "p99_ms", "waterfall_p50_ms")},
            }
        )
    return {"machine": machine(instrument.device), "revisions": revisions, "rows": rows}
