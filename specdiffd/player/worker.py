"""The engine process: owns torch and the device, turns waiting events into forecast. Started by the supervisor."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import selectors
import signal
import time
import zlib
from collections import deque
from dataclasses import replace
from multiprocessing.connection import Connection
from operator import itemgetter
from typing import Any, NamedTuple

from specdiffd.base.clock import ClockState
from specdiffd.base.config import Config
from specdiffd.base.errors import SpecdiffdError
from specdiffd.base.events import Event
from specdiffd.base.logs import set_up_logging
from specdiffd.base.messages import CHANNELS, NOTE_ON
from specdiffd.base.metrics import Durations
from specdiffd.base.priority import come_back, keep_memory, step_back
from specdiffd.base.text import told
from specdiffd.player.delay import RenderDelay
from specdiffd.player.engine import Engine, EngineSettings, settings_for
from specdiffd.player.outbox import Outbox
from specdiffd.player.rehearsal import measure
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.ring import Entry

log = logging.getLogger(__name__)
REPORT_S = 0.2
SNAPSHOT_S = 1.0  # a snapshot holds up a revision by a millisecond: while one is urgent there is none more often
FORGET_S = 1.0
ALIVE_S = 1.0  # between two signs of life of a standby
NOT_DUE_S, PANIC_S, FORECAST_WAIT_S, ASLEEP_WAIT_S = 0.005, 0.001, 0.05, 1.0
SEQUENCER_DELAY_S, SEQUENCER_LEAD_S = 0.2, 0.05
REHEARSAL_S = 8.0
# Notes that begin, each with a timbre of 0.3 ms: more would leave no time for anything else, and a flood of them would be silence. Nobody
# plays as many; a chord of all keys may begin at once.
NOTES_PER_S, NOTES_AT_ONCE = 400, 128
ECHO = 256  # events and latencies of a report
CALM_S = 10.0


class Orders(NamedTuple):
    """What an engine is told when it is to play.

    Args:
        sample_rate_hz: of the stream.
        delay_s: the render delay; None: measure it.
        snapshot: what another engine had reported last, compressed.
        skip_events: leave out what has come since: two engines have died of it.
        moved_s: by how much the stream's time has jumped since the snapshot, since its rate is another now.
    """

    sample_rate_hz: int
    delay_s: float | None = None
    snapshot: bytes | None = None
    skip_events: bool = False
    moved_s: float = 0.0


def run_engine(shared: SharedBlock, config: Config, fake: bool, supervisor: Connection, bells: list[Connection], background: bool) -> None:
    """Main function of the process: until the supervisor says stop, or is gone.

    Loads everything, with ("working", what) for each part, says ("loaded", None), then waits for ("go", Orders), with a sign of life,
    ("alive", None), every second. Sends ("ready", {...}) once it plays, or ("failed", (text, exit code)); then ("report", {...}) about
    five times a second.

    Args:
        background: another engine is playing, which goes before.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides
    set_up_logging(config.logging.level)
    log.debug("process %d", os.getpid())
    niceness = step_back() if background else None
    try:
        worker = Worker(shared, config, fake, supervisor, bells)
        if worker.start(niceness):
            worker.serve()
    except (EOFError, BrokenPipeError):
        log.warning("the supervisor is gone, stopping")
    except SpecdiffdError as error:
        supervisor.send(("failed", (told(error), error.exit_code)))
    except Exception as error:
        log.exception("the engine failed")
        supervisor.send(("failed", (f"the engine failed: {type(error).__name__}: {told(error)}", 1)))


class Worker:
    """Load, warm up, measure, serve."""

    def __init__(self, shared: SharedBlock, config: Config, fake: bool, supervisor: Connection, bells: list[Connection]) -> None:
        self._shared, self._config, self._supervisor, self._bells = shared, config, supervisor, bells
        self._timeline, self._header = shared.timeline, shared.timeline.header
        self._rings = (shared.live_events, shared.control_events)
        self._parts = 1 if config.engine.parts == "auto" else config.engine.parts
        self._selector = selectors.DefaultSelector()  # made once: several times a revision it is asked
        for connection in (supervisor, *bells):
            self._selector.register(connection, selectors.EVENT_READ)
        self._instrument: Any = self._load(fake)
        self._revisions, self._slack = Durations(), Durations()
        self._latencies: deque[dict[str, Any]] = deque(maxlen=ECHO)
        self._echo: deque[Entry] = deque(maxlen=ECHO)
        self._after_panic: list[Entry] = []
        self._skipped_notes = self._failed_events = 0
        self._budget, self._budget_ns = float(NOTES_AT_ONCE), 0  # notes that may begin, as of a moment
        self._reported_s = self._snapshot_s = self._forgot_s = 0.0
        self._reported_asleep: int | None = None  # with so many events; nothing has changed since
        self._kept: tuple[int, float] | None = None  # how much of the score the last snapshot had, and what was not rendered
        self._last_s = 0.0  # time of the last event
        self._away_s: float | None = None  # since when nobody hears
        self._heard_s = time.monotonic()

    def _load(self, fake: bool) -> Any:
        if fake:
            from specdiffd.instruments.sine import SineInstrument

            return SineInstrument()
        import torch

        torch.set_flush_denormal(True)  # the prior's quiet partials are denormals, which are slow
        from specdiffd.base.instrument import RenderSettings
        from specdiffd.instruments.loading import load_instrument, pick_device

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

    def start(self, niceness: int | None) -> bool:
        """Warm up, wait for the word, take over or measure the render delay, say that we are ready; False: stop instead.

        Args:
            niceness: to come back to when it plays; None: it has that already.
        """
        self._instrument.warm_up(self._working)
        gc.collect()
        gc.freeze()
        self._supervisor.send(("loaded", None))
        while not self._supervisor.poll(ALIVE_S):
            self._supervisor.send(("alive", None))
        message = self._supervisor.recv()
        if message == "stop":
            return False
        orders: Orders = message[1]
        log.info("%s", keep_memory())
        if niceness is not None:
            come_back(niceness)
        self._settings = self._settings_at(orders.sample_rate_hz)
        self._engine = Engine(self._instrument, self._timeline, self._settings)
        fixed = self._config.engine.mode == "sequencer" or self._config.engine.render_delay_ms != "auto"
        self._delay = RenderDelay(self._first_delay_s() if orders.delay_s is None else orders.delay_s, fixed)
        self._take_over(orders)
        self._supervisor.send(("ready", {"instrument": self._config.instrument.name}))
        self._outbox = Outbox(self._supervisor)
        self._report()
        return True

    def _settings_at(self, sample_rate_hz: int) -> EngineSettings:
        audio, engine = self._config.audio, self._config.engine
        settings = settings_for(sample_rate_hz, audio.block_size, engine.crossfade_ms, engine.forecast_s, self._parts, audio.reverb > 0)
        if engine.mode == "sequencer":
            settings = replace(settings, drafts=False, eager=False, lead_samples=round(SEQUENCER_LEAD_S * sample_rate_hz))
        return settings

    def _first_delay_s(self) -> float:
        wanted = self._config.engine.render_delay_ms
        if wanted != "auto":
            return wanted / 1e3
        if self._config.engine.mode == "sequencer":
            return SEQUENCER_DELAY_S
        measured = measure(self._instrument, self._settings, REHEARSAL_S, self._live)
        log.info("render delay %.1f ms (%s)", measured.delay_s * 1e3, measured)
        return measured.delay_s

    def _working(self, what: str) -> None:
        """Something that may take long is begun: we are slow, not stuck."""
        log.debug("%s", what)
        self._supervisor.send(("working", what))

    def _live(self) -> None:
        self._header.engine_alive_ns = time.monotonic_ns()

    def _take_over(self, orders: Orders) -> None:
        """Go on from the score of an engine that died, and take again every event that came after it was kept."""
        for ring in self._rings:
            ring.answer()  # it may have died between the bell and the answer
        if orders.snapshot is not None:
            scores, tails, unrendered_s = pickle.loads(zlib.decompress(orders.snapshot))
            for score in scores:
                score.move(orders.moved_s)
            for ring, tail in zip(self._rings, tails, strict=True):
                ring.go_back(tail)
            self._engine.resume(scores, unrendered_s + orders.moved_s)
        if orders.skip_events:
            log.error("%d events are left out, an engine has died of them twice", sum(len(ring.take()) for ring in self._rings))

    @property
    def _delay_ms(self) -> float:
        return round(self._delay.seconds * 1e3, 2)

    def serve(self) -> None:
        """Wait for events and for the forecast to run short; do one piece of work at a time; report."""
        working = False
        while True:
            self._live()
            woken = [key.fileobj for key, _ in self._selector.select(0 if working else self._idle_s)]
            if self._supervisor in woken and self._supervisor.recv() == "stop":
                return
            for bell, ring in zip(self._bells, self._rings, strict=True):
                if bell in woken:
                    bell.recv_bytes()
                    ring.answer()
            if self._timeline.panicking:
                self._panic()
            else:
                self._take_events()
            working = self._work()
            self._keep_house()

    @property
    def _idle_s(self) -> float:
        if self._timeline.panicking or self._after_panic:
            return PANIC_S
        if self._engine.waiting:
            return NOT_DUE_S
        return (REPORT_S if self._to_be_reported else ASLEEP_WAIT_S) if self._engine.asleep else FORECAST_WAIT_S

    @property
    def _to_be_reported(self) -> bool:
        """Whether something has happened since a sleep was reported."""
        return self._reported_asleep != self._engine.counters.events

    def _work(self) -> bool:
        """A piece of work; False: there was none."""
        revisions = self._engine.counters.revisions
        working = self._engine.work()
        if self._engine.counters.revisions > revisions:
            slack_s = self._engine.slack_samples / self._settings.sample_rate_hz
            self._revisions.add(self._engine.took_s)
            self._slack.add(slack_s)
            self._delay.add(slack_s)
            row = {name: round(s * 1e3, 3) for name, s in self._instrument.stopwatch.laps.items()}
            self._latencies.append(row | {"slack": round(slack_s * 1e3, 3)})
        return working

    def _keep_house(self) -> None:
        """What is done now and then: in silence the render delay may be moved, what is over is forgotten, all is reported."""
        now_s = time.monotonic()
        if now_s - self._forgot_s > FORGET_S:
            self._forgot_s = now_s
            self._engine.forget()
        if not self._engine.asleep:
            self._heard_s = now_s
        elif now_s - self._heard_s > CALM_S:
            self._heard_s, before_ms = now_s, self._delay_ms
            if self._delay.move():
                self._reported_asleep = None
                log.info("render delay %.1f ms instead of %.1f", self._delay_ms, before_ms)
        self._report()

    # -- events --------------------------------------------------------------------------------------------------

    def _waiting(self) -> list[Entry]:
        """What has come, in order of time; at one moment in order of arrival."""
        waiting, self._after_panic = self._after_panic, []
        for ring in self._rings:
            waiting += ring.take()
        return sorted(waiting, key=itemgetter(0))

    def _take_events(self) -> None:
        waiting, clock = self._waiting(), self._timeline.clock()
        if clock is None:
            self._follow(waiting)
            return
        self._away_s = None
        for entry in waiting:
            if entry[1] & 0xF0 == NOTE_ON and entry[3] > 0 and not self._may_begin(entry[0]):
                self._skipped_notes += 1
                continue
            self._last_s = max(self._last_s, self._sounds_at_s(clock, entry[0]))  # a score is in order
            self._play(entry)

    def _may_begin(self, time_ns: int) -> bool:
        """Whether one more note may."""
        earned = (time_ns - self._budget_ns) * NOTES_PER_S / 1e9
        self._budget, self._budget_ns = min(NOTES_AT_ONCE, self._budget + max(0.0, earned)), time_ns
        if self._budget < 1:
            return False
        self._budget -= 1
        return True

    def _follow(self, waiting: list[Entry]) -> None:
        """Nobody hears, the stream is away: events change the state, and what begins and ends meanwhile is never heard."""
        if self._away_s is None:
            self._away_s = max(self._last_s, self._timeline.playhead / self._settings.sample_rate_hz + self._delay.seconds)
        self._last_s = self._away_s
        for entry in waiting:
            self._play(entry)
        if waiting:
            self._engine.discard(self._away_s)

    def _play(self, entry: Entry) -> None:
        try:
            self._engine.play(Event(self._last_s, *entry[1:]))
        except Exception:  # an event that the score stumbles over is left out: nobody else should, either
            self._failed_events += 1
            log.exception("left out the event %s", entry)
        if entry[1] & 0xF0 == NOTE_ON or entry[1] >= 0xF0 or len(self._echo) < ECHO:
            self._echo.append(entry)

    def _panic(self) -> None:
        """Once the reader is mute nothing sounds any more; what came before it is over, what came after it is played."""
        panics = self._header.panics
        if self._header.muted_panics < panics and not self._timeline.at_rest and self._timeline.clock() is not None:
            return
        waiting = self._waiting()
        for entry in waiting:
            if entry[0] <= self._header.panic_ns:
                self._play(entry)
        self._after_panic = [entry for entry in waiting if entry[0] > self._header.panic_ns]
        self._engine.panic()
        self._reported_asleep = None
        self._header.handled_panics = panics

    def _sounds_at_s(self, clock: ClockState, time_ns: int) -> float:
        """Seconds on the timeline; what came while nothing was played begins with the stream."""
        sample = max(clock.sample_at(time_ns), self._header.clock_start)
        return sample / self._settings.sample_rate_hz + self._delay.seconds

    # -- reports -------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        now_s, engine = time.monotonic(), self._engine
        asleep = engine.asleep and not engine.waiting
        if now_s - self._reported_s < REPORT_S or (asleep and not self._to_be_reported):
            return
        self._reported_s, self._reported_asleep = now_s, engine.counters.events if asleep else None
        report = self._status()
        kept = engine.counters.events, engine.unrendered_s
        if self._kept != kept and not (engine.urgent and now_s - self._snapshot_s < SNAPSHOT_S):
            self._kept, self._snapshot_s = kept, now_s
            report["snapshot"] = pickle.dumps((engine.scores, [ring.tail for ring in self._rings], engine.unrendered_s))
        self._latencies.clear()
        self._echo.clear()
        self._outbox.put(report)

    def _status(self) -> dict[str, Any]:
        """What is reported, as plain data."""
        engine, timeline, rate = self._engine, self._timeline, self._settings.sample_rate_hz
        sounding = [n for score in engine.scores for n in score.sounding(timeline.playhead / rate + self._delay.seconds)]
        return {
            "counters": {
                **{name: getattr(engine.counters, name) for name in engine.counters.__dataclass_fields__},
                "stolen_notes": sum(score.stolen_notes for score in engine.scores),
                "skipped_notes": self._skipped_notes,
                "failed_events": self._failed_events,
                "without_graph": self._instrument.without_graph,
            },
            "revision": self._revisions.summary(),
            "slack": self._slack.summary(),
            "sounding_notes": [
                {"channel": n.channel + 1, "pitch": n.pitch, "velocity": n.velocity, "program": n.program} for n in sounding
            ],
            "programs": [engine.scores[0].program(c) for c in range(CHANNELS)],
            "asleep": engine.asleep,
            "queued_events": sum(len(ring) for ring in self._rings),
            "latencies": list(self._latencies),
            "midi": list(self._echo),
            "render_delay_ms": self._delay_ms,
        }


def live_threads(cores: int) -> int:
    """Threads of the networks while playing: the cores, at most four; a revision's products are too small for more."""
    return max(1, min(4, cores))
