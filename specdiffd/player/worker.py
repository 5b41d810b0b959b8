"""The engine process: owns torch and the device, turns waiting events into forecast. Started by the supervisor."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from multiprocessing.connection import Connection

from specdiffd.base.config import Config
from specdiffd.base.errors import SpecdiffdError
from specdiffd.base.logs import set_up_logging
from specdiffd.base.priority import come_back, keep_memory, step_back
from specdiffd.base.text import told
from specdiffd.player.delay import RenderDelay
from specdiffd.player.engine import Engine
from specdiffd.player.intake import Intake
from specdiffd.player.outbox import Outbox
from specdiffd.player.reporting import REPORT_S, Reporter
from specdiffd.player.startup import load, start_playing, wait_for_go
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.messages import EngineReady, Failed, Stop, receive_order, send

log = logging.getLogger(__name__)
FORGET_S = 1.0  # less often, and what a long piece has left behind grows
CALM_S = 10.0  # of silence before the render delay may be moved: between two phrases it must not change
# How long the loop waits for an event, at most: while one waits for its time; while a panic waits for the output; while the forecast is long
# enough; while nothing sounds.
NOT_DUE_S, PANIC_S, FORECAST_WAIT_S, ASLEEP_WAIT_S = 0.005, 0.001, 0.05, 1.0


def run_engine(shared: SharedBlock, config: Config, fake: bool, supervisor: Connection, bells: list[Connection], background: bool) -> None:
    """Main function of the process: until the supervisor says stop, or is gone.

    Loads everything, with ``Working`` for each part, sends ``Loaded``, and waits for ``Go``, with ``Alive`` every second. Sends
    ``EngineReady`` once it plays, or ``Failed``; then a ``Report`` about five times a second.

    Args:
        shared: the timeline and the event rings.
        config: the whole configuration.
        fake: play sines.
        supervisor: the pipe to it.
        bells: pipes that ring when there is something in the rings, in the same order.
        background: another engine is playing, and goes first.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides
    set_up_logging(config.logging.level)
    log.debug("process %d", os.getpid())
    niceness = step_back() if background else None
    try:
        _run(shared, config, fake, supervisor, bells, niceness)
    except (EOFError, BrokenPipeError):
        log.warning("the supervisor is gone, stopping")
    except SpecdiffdError as error:
        send(supervisor, Failed(told(error), error.exit_code))
    except Exception as error:
        log.exception("the engine failed")
        send(supervisor, Failed(f"the engine failed: {type(error).__name__}: {told(error)}", 1))


def _run(shared: SharedBlock, config: Config, fake: bool, supervisor: Connection, bells: list[Connection], niceness: int | None) -> None:
    """Start and serve.

    Args:
        niceness: to come back to when the engine plays; None: it has that already.
    """
    instrument = load(config, fake, supervisor)
    go = wait_for_go(supervisor)
    if go is None:
        return
    log.info("%s", keep_memory())
    if niceness is not None:
        come_back(niceness)
    engine, delay, intake = start_playing(shared, config, instrument, go)
    send(supervisor, EngineReady(config.instrument.name))
    Worker(engine, delay, intake, supervisor, bells).serve()


class Worker:
    """The loop of an engine that plays: take events, do one piece of work, report.

    Attributes:
        engine, delay, intake: as they were given.
        reporter: what the supervisor hears from.
    """

    def __init__(self, engine: Engine, delay: RenderDelay, intake: Intake, supervisor: Connection, bells: list[Connection]) -> None:
        self.engine, self.delay, self.intake = engine, delay, intake
        self.reporter = Reporter(engine, intake, delay, Outbox(supervisor))
        self._supervisor, self._bells = supervisor, bells
        self._selector = selectors.DefaultSelector()  # made once: it is asked several times a revision
        for connection in (supervisor, *bells):
            self._selector.register(connection, selectors.EVENT_READ)
        self._forgot_s = 0.0  # on the monotonic clock
        self._sounded_s = time.monotonic()  # when something sounded, or the render delay was looked at

    def serve(self) -> None:
        """Wait for events and for the forecast to run short; do one piece of work at a time; report.

        Raises:
            EOFError, OSError: the supervisor is gone.
        """
        self.reporter.report(time.monotonic())
        working = False
        while True:
            self.engine.timeline.header.engine_alive_ns = time.monotonic_ns()
            woken = [key.fileobj for key, _ in self._selector.select(0 if working else self._idle_s)]
            if self._supervisor in woken and isinstance(receive_order(self._supervisor), Stop):
                return
            for bell, ring in zip(self._bells, self.intake.rings, strict=True):
                if bell in woken:
                    bell.recv_bytes()
                    ring.answer()
            self.take_events()
            working = self.work()
            self.keep_house(time.monotonic())

    @property
    def _idle_s(self) -> float:
        """How long to wait for an event while there is no work."""
        if self.intake.panic_pending:
            return PANIC_S
        if self.engine.waiting:
            return NOT_DUE_S
        if not self.engine.asleep:
            return FORECAST_WAIT_S
        return REPORT_S if self.reporter.pending else ASLEEP_WAIT_S

    def take_events(self) -> None:
        """Play what has come, or end everything if there is a panic."""
        if not self.engine.timeline.panicking:
            self.intake.take()
        elif self.intake.panic():
            self.reporter.changed()

    def work(self) -> bool:
        """Do a piece of work; False: there was none."""
        revisions = self.engine.counters.revisions
        working = self.engine.work()
        if self.engine.counters.revisions > revisions:
            self.reporter.revised()
            self.delay.add(self.engine.slack_samples / self.engine.settings.sample_rate_hz)
        return working

    def keep_house(self, now_s: float) -> None:
        """Forget what is over, move the render delay in silence, and report, each now and then; ``now_s`` on the monotonic clock."""
        if now_s - self._forgot_s > FORGET_S:
            self._forgot_s = now_s
            self.engine.forget()
        if not self.engine.asleep:
            self._sounded_s = now_s
        elif now_s - self._sounded_s > CALM_S:
            self._sounded_s = now_s
            self._move_delay()
        self.reporter.report(now_s)

    def _move_delay(self) -> None:
        before_ms = self.delay.milliseconds
        if self.delay.move():
            self.reporter.changed()
            log.info("render delay %.1f ms instead of %.1f", self.delay.milliseconds, before_ms)
