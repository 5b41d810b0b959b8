"""Times revisions, from the event to the splices."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from specdiffd.base.events import Event
from specdiffd.base.messages import NOTE_OFF, NOTE_ON
from specdiffd.base.metrics import Stopwatch
from specdiffd.bench.machine import machine, waiting_for
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.player.engine import Engine
from specdiffd.player.settings import EngineSettings
from specdiffd.shared.timeline import Timeline

POLYPHONY, SPACINGS_S, STRETCHES = (1, 8, 32), (0.6, 0.08), (10, 24)  # what ``bench_engine`` measures


def bench_latency(
    instrument: SpectrogramInstrument, settings: EngineSettings, revisions: int, polyphony: int, spacing_s: float = 0.15
) -> dict[str, Any]:
    """Hold ``polyphony`` notes and strike them again, one after the other. Times the first splice, the end and the laps of each revision, and
    every piece of work.

    Between revisions the forecast is completed, as when a musician plays: known frames are cached, the window rolls. Each lap waits for the
    GPU, if there is one.
    """
    instrument.warm_up()
    instrument.stopwatch = Stopwatch(waiting_for(instrument.device))
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
    """Times of revisions, in seconds."""

    totals_s: list[float] = field(default_factory=list)  # until the first splice
    wholes_s: list[float] = field(default_factory=list)  # until the last splice
    pieces_s: list[float] = field(default_factory=list)  # of work; an event that arrives during a piece has to wait for its end
    laps_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def _strike(engine: Engine, revisions: int, polyphony: int, spacing_s: float) -> _Times:
    """Hold ``polyphony`` notes and strike them again, one after the other; the first sixth of the revisions is not counted."""
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


def bench_engine(instrument: SpectrogramInstrument, settings: EngineSettings, revisions: int) -> dict[str, Any]:
    """Times revisions by polyphony, by notes in the window, and by frames."""
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
