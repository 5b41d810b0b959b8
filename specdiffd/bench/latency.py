"""One revision, from the event to the splice, taken apart."""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from typing import Any

import numpy as np
import torch

from specdiffd.engine import Engine, EngineSettings
from specdiffd.events import Event
from specdiffd.instrument import SpectrogramInstrument
from specdiffd.io.timeline import Timeline


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            model = next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"processor": model, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}


def bench_latency(
    instrument: SpectrogramInstrument, settings: EngineSettings, revisions: int, polyphony: int, seed: int = 0
) -> dict[str, Any]:
    """Play ``polyphony`` held notes and strike one after the other anew; time each revision and its laps.

    Between revisions the forecast is completed, as it is when a musician plays: known frames are cached, the window rolls.
    """
    timeline = Timeline()
    timeline.clear()
    engine = Engine(instrument, timeline, settings)
    rng = np.random.default_rng(seed)
    rate = settings.sample_rate_hz
    held = [int(p) for p in rng.choice(np.arange(36, 96), size=polyphony, replace=False)]
    for pitch in held:
        engine.play(Event(0.05, 0x90, pitch, 80))
    totals: list[float] = []
    laps: defaultdict[str, list[float]] = defaultdict(list)
    for k in range(revisions + revisions // 5):
        while engine.work():
            pass
        timeline.header["playhead"] += int(rng.uniform(0.05, 0.25) * rate)
        now_s = timeline.playhead / rate + 0.03
        pitch = held[k % polyphony]
        engine.play(Event(now_s, 0x80, pitch, 0))
        engine.play(Event(now_s, 0x90, pitch, int(rng.integers(20, 127))))
        instrument.stopwatch.start()
        started = time.perf_counter()
        while engine.urgent:
            engine.work()
        elapsed = time.perf_counter() - started
        instrument.stopwatch.lap("resample and splice")
        if k >= revisions // 5:
            totals.append(elapsed)
            for name, seconds in instrument.stopwatch.laps.items():
                laps[name].append(seconds)
    p50, p99 = np.percentile(totals, (50, 99)) * 1e3
    return {
        "machine": machine(),
        "dtype": str(instrument.decoder.spec_out.weight.dtype).removeprefix("torch."),
        "device": str(instrument.device),
        "steps": instrument.steps,
        "polyphony": polyphony,
        "urgent_frames": settings.urgent_frames,
        "revisions": len(totals),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "waterfall_p50_ms": {name: round(float(np.median(values)) * 1e3, 2) for name, values in laps.items()},
    }
