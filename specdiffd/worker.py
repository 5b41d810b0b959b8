"""The engine process: owns torch and the device, turns waiting events into forecast. Started by the supervisor."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections import deque
from multiprocessing.connection import Connection, wait
from typing import Any

from specdiffd.clock import ClockState
from specdiffd.config import Config
from specdiffd.engine import Engine, EngineSettings, settings_for
from specdiffd.errors import SpecdiffdError
from specdiffd.events import NOTE_ON, Event
from specdiffd.io.shared import SharedBlock
from specdiffd.io.timeline import Timeline
from specdiffd.logs import set_up_logging
from specdiffd.metrics import Durations

log = logging.getLogger(__name__)
REPORT_S = 0.2
LONGEST_WAIT_S = 0.2
MARGIN_S = 0.003
WARM_UP_REVISIONS = 60
QUEUE_PER_REPORT = 256
STAGES_BETWEEN = 16  # pieces of slices between two revisions, when measuring


def run_engine(shared: SharedBlock, config: Config, fake: bool, supervisor: Connection, bells: list[Connection]) -> None:
    """Main function of the process: until the supervisor says stop, or is gone.

    Sends ("ready", {...}) once, or ("failed", (text, exit code)); then ("report", {...}) about five times a second.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    set_up_logging(config.logging.level)
    try:
        worker = Worker(shared, config, fake, supervisor, bells)
        worker.start()
        worker.serve()
    except (EOFError, BrokenPipeError):
        log.warning("the supervisor is gone, stopping")
    except SpecdiffdError as error:
        supervisor.send(("failed", (str(error), error.exit_code)))
    except Exception as error:
        log.exception("the engine failed")
        supervisor.send(("failed", (f"the engine failed: {type(error).__name__}: {error}", 1)))


class Worker:
    """Load, warm up, measure, serve."""

    def __init__(self, shared: SharedBlock, config: Config, fake: bool, supervisor: Connection, bells: list[Connection]) -> None:
        self._shared, self._config, self._supervisor, self._bells = shared, config, supervisor, bells
        self._instrument: Any = self._load(fake)
        audio, engine = config.audio, config.engine
        parts = 1 if engine.parts == "auto" else engine.parts
        self._settings = settings_for(audio.sample_rate_hz, audio.block_size, engine.crossfade_ms, engine.forecast_s, parts)
        self._engine = Engine(self._instrument, shared.timeline, self._settings)
        self._delay_samples = 0
        self._revisions = Durations()
        self._latencies: deque[dict[str, Any]] = deque(maxlen=QUEUE_PER_REPORT)
        self._echo: deque[tuple[int, int, int, int]] = deque(maxlen=QUEUE_PER_REPORT)
        self._reported_s = 0.0

    def _load(self, fake: bool) -> Any:
        if fake:
            from specdiffd.fakes import SineInstrument

            return SineInstrument()
        import torch

        from specdiffd.instrument import RenderSettings
        from specdiffd.loading import load_instrument, pick_device

        torch.set_grad_enabled(False)
        c = self._config.instrument
        settings = RenderSettings(
            seed=c.seed,
            steps=None if c.steps == "default" else c.steps,
            scheduler=None if c.scheduler == "default" else c.scheduler,
            guidance=1.0 if c.guidance == "default" else c.guidance,
        )
        return load_instrument(
            c.name, pick_device(c.device), c.dtype, settings, self._config.engine.hop_frames, threads=live_threads(os.cpu_count() or 1)
        )

    def start(self) -> None:
        """Warm up, measure how long a revision takes, fix the render delay, say that we are ready."""
        self._instrument.warm_up()
        revisions, slices = measure(self._instrument, self._settings, WARM_UP_REVISIONS)
        revision_s, slice_s = ((d.percentile_ms(99) or 0.0) / 1e3 for d in (revisions, slices))
        rate, block = self._config.audio.sample_rate_hz, self._config.audio.block_size
        if self._config.engine.render_delay_ms == "auto":
            # An event waits for the stage in hand, then for its revision; the block being played, the guard and the
            # shortest fade before the onset are lost. Most revisions are done earlier: they fade longer.
            s = self._settings
            delay_s = slice_s + revision_s + (s.guard_samples + block + s.before_onset_samples + s.least_fade_samples) / rate + MARGIN_S
        else:
            delay_s = self._config.engine.render_delay_ms / 1e3
        self._delay_samples = round(delay_s * rate)
        gc.collect()
        gc.freeze()
        log.info("render delay %.1f ms (99th percentiles: revision %.1f ms, slice %.1f ms)", delay_s * 1e3, revision_s * 1e3, slice_s * 1e3)
        self._report()  # before it is ready, so that there is a status from the first request on
        self._supervisor.send(("ready", {"render_delay_ms": round(delay_s * 1e3, 2), "instrument": self._config.instrument.name}))

    def serve(self) -> None:
        """Wait for events and for the forecast to run short; do one piece of work at a time; report."""
        header = self._shared.timeline.header
        working, started = False, 0.0
        while True:
            header["engine_alive_ns"] = time.monotonic_ns()
            woken = wait([self._supervisor, *self._bells], 0 if working else LONGEST_WAIT_S / 4)
            if self._supervisor in woken and self._supervisor.recv() == "stop":
                return
            for bell, ring in zip(self._bells, (self._shared.live_events, self._shared.control_events), strict=True):
                if bell in woken:
                    bell.recv_bytes()
                    ring.answer()
            self._take_events()
            revisions = self._engine.counters.revisions
            if not self._engine.revising:
                started = time.perf_counter()
                self._instrument.stopwatch.start()
            working = self._engine.work()
            if self._engine.counters.revisions > revisions:
                self._revisions.add(time.perf_counter() - started)
                self._latencies.append({name: round(s * 1e3, 3) for name, s in self._instrument.stopwatch.laps.items()})
            self._report()

    def _take_events(self) -> None:
        clock = self._shared.timeline.clock()
        if clock is None:
            return
        waiting = self._shared.live_events.take() + self._shared.control_events.take()
        for time_ns, status, data1, data2 in sorted(waiting):
            self._engine.play(Event(self._sounds_at_s(clock, time_ns), status, data1, data2))
            if status & 0xF0 == NOTE_ON or status >= 0xF0 or len(self._echo) < QUEUE_PER_REPORT:
                self._echo.append((time_ns, status, data1, data2))

    def _sounds_at_s(self, clock: ClockState, time_ns: int) -> float:
        return (clock.sample_at(time_ns) + self._delay_samples) / self._settings.sample_rate_hz

    def _report(self) -> None:
        now_s = time.monotonic()
        if now_s - self._reported_s < REPORT_S:
            return
        self._reported_s = now_s
        counters = self._engine.counters
        timeline = self._shared.timeline
        playhead_s = timeline.playhead / self._settings.sample_rate_hz
        sounding = [
            n for score in self._engine.scores for n in score.sounding(playhead_s + self._delay_samples / self._settings.sample_rate_hz)
        ]
        report = {
            "counters": {name: getattr(counters, name) for name in counters.__dataclass_fields__},
            "revision": self._revisions.summary(),
            "sounding_notes": [
                {"channel": n.channel + 1, "pitch": n.pitch, "velocity": n.velocity, "program": n.program} for n in sounding
            ],
            "programs": [self._engine.scores[0].program(c) for c in range(16)],
            "forecast_s": round(max(0, timeline.valid_until - timeline.playhead) / self._settings.sample_rate_hz, 3),
            "asleep": self._engine.asleep,
            "dropped_events": self._shared.live_events.dropped + self._shared.control_events.dropped,
            "latencies": list(self._latencies),
            "midi": list(self._echo),
        }
        self._latencies.clear()
        self._echo.clear()
        self._supervisor.send(("report", report))


def live_threads(cores: int) -> int:
    """Threads of the networks while playing: the cores, at most four; a revision's products are too small for more."""
    return max(1, min(4, cores))


def measure(instrument: Any, settings: EngineSettings, count: int) -> tuple[Durations, Durations]:
    """How long revisions and slices take, on a timeline of its own: chords come and go while time passes.

    Also warms everything up: the first quarter is not counted.
    """
    timeline = Timeline()
    timeline.clear()
    engine = Engine(instrument, timeline, settings)
    revisions, slices = Durations(count), Durations(STAGES_BETWEEN * count)
    rate = settings.sample_rate_hz

    def timed(durations: Durations, k: int) -> None:
        started = time.perf_counter()
        worked = engine.work()
        while engine.revising:
            engine.work()
        if worked and k >= count // 4:
            durations.add(time.perf_counter() - started)

    for k in range(count):
        for pitch in (48, 60, 64, 67):
            engine.play(Event(timeline.playhead / rate + 0.05, 0x90 if k % 2 == 0 else 0x80, pitch + k // 2 % 12, 80))
        timed(revisions, k)
        for _ in range(STAGES_BETWEEN):
            timed(slices, k)
        timeline.header["playhead"] += round(0.12 * rate)
    return revisions, slices
