"""The engine process: owns torch and the device, turns waiting events into forecast. Started by the supervisor."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import selectors
import signal
import threading
import time
from collections import deque
from dataclasses import replace
from multiprocessing.connection import Connection
from operator import itemgetter
from typing import Any

from specdiffd.clock import ClockState
from specdiffd.config import Config
from specdiffd.engine import Engine, settings_for
from specdiffd.errors import SpecdiffdError
from specdiffd.events import NOTE_ON, Event
from specdiffd.io.ring import Entry
from specdiffd.io.shared import SharedBlock
from specdiffd.logs import set_up_logging
from specdiffd.metrics import Durations
from specdiffd.priority import come_back, keep_memory, step_back
from specdiffd.rehearsal import KEPT, MARGIN_S, measure

log = logging.getLogger(__name__)
REPORT_S = 0.2
NOT_DUE_S, FORECAST_WAIT_S, ASLEEP_WAIT_S = 0.005, 0.05, 1.0
SEQUENCER_DELAY_S, SEQUENCER_LEAD_S = 0.2, 0.05
REHEARSAL_S = 8.0
QUEUE_PER_REPORT = 256
SLACK_REVISIONS = 400  # that the render delay may be moved by
TOLERANCE = 0.1  # of the delay: it stays where it is if it is right within that, and twice that where it is too long
CALM_S = 10.0


def run_engine(shared: SharedBlock, config: Config, fake: bool, supervisor: Connection, bells: list[Connection]) -> None:
    """Main function of the process: until the supervisor says stop, or is gone.

    Loads everything, then waits for ("go", {"delay_s": seconds or None, "snapshot": bytes or None}): without a delay it
    is measured, a snapshot is what another engine had reported last. Sends ("ready", {...}) once it plays, or ("failed",
    (text, exit code)); then ("report", {...}) about five times a second.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    set_up_logging(config.logging.level)
    niceness = step_back()  # another engine may be playing
    try:
        worker = Worker(shared, config, fake, supervisor, bells, niceness)
        if worker.start():
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

    def __init__(
        self, shared: SharedBlock, config: Config, fake: bool, supervisor: Connection, bells: list[Connection], niceness: int
    ) -> None:
        self._niceness = niceness  # when it plays
        self._shared, self._config, self._supervisor, self._bells = shared, config, supervisor, bells
        self._parts = 1 if config.engine.parts == "auto" else config.engine.parts
        self._selector = selectors.DefaultSelector()  # made once: several times a revision it is asked
        for connection in (supervisor, *bells):
            self._selector.register(connection, selectors.EVENT_READ)
        self._instrument: Any = self._load(fake)
        audio, engine = config.audio, config.engine
        self._settings = settings_for(
            audio.sample_rate_hz, audio.block_size, engine.crossfade_ms, engine.forecast_s, self._parts, audio.reverb > 0
        )
        if engine.mode == "sequencer":
            self._settings = replace(self._settings, drafts=False, eager=False, lead_samples=round(SEQUENCER_LEAD_S * audio.sample_rate_hz))
        self._engine = Engine(self._instrument, shared.timeline, self._settings)
        self._delay_samples = 0
        self._revisions = Durations()
        self._slack = Durations(SLACK_REVISIONS)
        self._latencies: deque[dict[str, Any]] = deque(maxlen=QUEUE_PER_REPORT)
        self._echo: deque[tuple[int, int, int, int]] = deque(maxlen=QUEUE_PER_REPORT)
        self._reported_s = 0.0
        self._reported_asleep: int | None = None  # with so many events; nothing has changed since
        self._kept: tuple[int, float] | None = None  # how much of the score the last snapshot had, and what was not rendered
        self._last_s = 0.0  # time of the last event
        self._heard_s = time.monotonic()

    def _load(self, fake: bool) -> Any:
        if fake:
            from specdiffd.fakes import SineInstrument

            return SineInstrument()
        import torch

        torch.set_flush_denormal(True)  # the prior's quiet partials are denormals, which are slow
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
        threads, hop_frames = live_threads(os.cpu_count() or 1), self._config.engine.hop_frames
        return load_instrument(c.name, pick_device(c.device), c.dtype, settings, hop_frames, threads=threads, parts=self._parts)

    def start(self) -> bool:
        """Warm up, wait for the word, take over or measure the render delay, say that we are ready; False: stop instead."""
        self._instrument.warm_up()
        gc.collect()
        gc.freeze()
        self._supervisor.send(("loaded", None))
        message = self._supervisor.recv()
        if message == "stop":
            return False
        _, orders = message
        log.info("%s", keep_memory())
        come_back(self._niceness)
        wanted = self._config.engine.render_delay_ms
        if orders["delay_s"] is not None:
            delay_s = orders["delay_s"]
        elif wanted == "auto" and self._config.engine.mode == "sequencer":
            delay_s = SEQUENCER_DELAY_S
        elif wanted == "auto":
            measured = measure(self._instrument, self._settings, REHEARSAL_S)
            delay_s = measured.delay_s
            log.info("render delay %.1f ms (%s)", delay_s * 1e3, measured)
        else:
            delay_s = wanted / 1e3
        self._delay_samples = round(delay_s * self._settings.sample_rate_hz)
        self._take_over(orders["snapshot"])
        self._report()  # before it is ready, so that there is a status from the first request on
        self._supervisor.send(("ready", {"render_delay_ms": self._delay_ms, "instrument": self._config.instrument.name}))
        return True

    def _take_over(self, snapshot: bytes | None) -> None:
        """Go on from the score of an engine that died, and take again every event that came after it was kept."""
        rings = (self._shared.live_events, self._shared.control_events)
        for ring in rings:
            ring.answer()  # it may have died between the bell and the answer
        if snapshot is not None:
            scores, tails, unrendered_s = pickle.loads(snapshot)
            for ring, tail in zip(rings, tails, strict=True):
                ring.go_back(tail)
            self._engine.resume(scores, unrendered_s)

    @property
    def _delay_ms(self) -> float:
        return round(self._delay_samples / self._settings.sample_rate_hz * 1e3, 2)

    def serve(self) -> None:
        """Wait for events and for the forecast to run short; do one piece of work at a time; report."""
        header = self._shared.timeline.header
        working = False
        while True:
            header.engine_alive_ns = time.monotonic_ns()
            idle_s = NOT_DUE_S if self._engine.waiting else ASLEEP_WAIT_S if self._engine.asleep else FORECAST_WAIT_S
            woken = [key.fileobj for key, _ in self._selector.select(0 if working else idle_s)]
            if self._supervisor in woken and self._supervisor.recv() == "stop":
                return
            for bell, ring in zip(self._bells, (self._shared.live_events, self._shared.control_events), strict=True):
                if bell in woken:
                    bell.recv_bytes()
                    ring.answer()
            self._take_events()
            revisions = self._engine.counters.revisions
            working = self._engine.work()
            if self._engine.counters.revisions > revisions:
                self._revisions.add(self._engine.took_s)
                slack_s = self._engine.slack_samples / self._settings.sample_rate_hz
                self._slack.add(slack_s)
                row = {name: round(s * 1e3, 3) for name, s in self._instrument.stopwatch.laps.items()}
                self._latencies.append(row | {"slack": round(slack_s * 1e3, 3)})
            if not self._engine.asleep:
                self._heard_s = time.monotonic()
            elif time.monotonic() - self._heard_s > CALM_S:
                self._move_delay()
            self._report()

    def _move_delay(self) -> None:
        """Nothing has sounded for a while: what playing has shown since the last time may move the render delay."""
        if self._slack.count < SLACK_REVISIONS or not self._settings.eager or self._config.engine.render_delay_ms != "auto":
            return
        self._heard_s = time.monotonic()
        spare_ms = (self._slack.percentile_ms(100 - KEPT) or 0.0) - MARGIN_S * 1e3
        self._slack = Durations(SLACK_REVISIONS)
        if -TOLERANCE * self._delay_ms < spare_ms < 2 * TOLERANCE * self._delay_ms:
            return
        before_ms = self._delay_ms
        self._delay_samples -= round(spare_ms / 1e3 * self._settings.sample_rate_hz)
        self._reported_asleep = None
        log.info("render delay %.1f ms instead of %.1f, by the last %d revisions", self._delay_ms, before_ms, SLACK_REVISIONS)

    def _take_events(self) -> None:
        clock = self._shared.timeline.clock()
        if clock is None:
            return
        waiting = self._shared.live_events.take() + self._shared.control_events.take()
        for time_ns, status, data1, data2 in sorted(waiting):
            self._last_s = max(self._last_s, self._sounds_at_s(clock, time_ns))  # a score is in order
            self._engine.play(Event(self._last_s, status, data1, data2))
            if status & 0xF0 == NOTE_ON or status >= 0xF0 or len(self._echo) < QUEUE_PER_REPORT:
                self._echo.append((time_ns, status, data1, data2))

    def _sounds_at_s(self, clock: ClockState, time_ns: int) -> float:
        """Seconds on the timeline; what came while nothing was played begins with the stream."""
        sample = max(clock.sample_at(time_ns), self._shared.timeline.header.clock_start)
        return (sample + self._delay_samples) / self._settings.sample_rate_hz

    def _report(self) -> None:
        now_s = time.monotonic()
        asleep = self._engine.asleep and not self._engine.waiting
        if now_s - self._reported_s < REPORT_S or (asleep and self._reported_asleep == self._engine.counters.events):
            return
        self._reported_s, self._reported_asleep = now_s, self._engine.counters.events if asleep else None
        counters = self._engine.counters
        timeline = self._shared.timeline
        playhead_s = timeline.playhead / self._settings.sample_rate_hz
        sounding = [
            n for score in self._engine.scores for n in score.sounding(playhead_s + self._delay_samples / self._settings.sample_rate_hz)
        ]
        report = {
            "counters": {
                **{name: getattr(counters, name) for name in counters.__dataclass_fields__},
                "without_graph": self._instrument.without_graph,
            },
            "revision": self._revisions.summary(),
            "slack": self._slack.summary(),
            "sounding_notes": [
                {"channel": n.channel + 1, "pitch": n.pitch, "velocity": n.velocity, "program": n.program} for n in sounding
            ],
            "programs": [self._engine.scores[0].program(c) for c in range(16)],
            "forecast_s": round(max(0, timeline.valid_until - timeline.playhead) / self._settings.sample_rate_hz, 3),
            "asleep": self._engine.asleep,
            "queued_events": len(self._shared.live_events) + len(self._shared.control_events),
            "dropped_events": self._shared.live_events.dropped + self._shared.control_events.dropped,
            "latencies": list(self._latencies),
            "midi": list(self._echo),
            "render_delay_ms": self._delay_ms,
        }
        kept = counters.events, self._engine.unrendered_s
        if self._kept != kept:
            self._kept = kept
            rings = (self._shared.live_events, self._shared.control_events)
            report["snapshot"] = pickle.dumps((self._engine.scores, [ring.tail for ring in rings], self._engine.unrendered_s))
        self._latencies.clear()
        self._echo.clear()
        self._supervisor.send(("report", report))


def live_threads(cores: int) -> int:
    """Threads of the networks while playing: the cores, at most four; a revision's products are too small for more."""
    return max(1, min(4, cores))
