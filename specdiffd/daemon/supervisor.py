"""The supervisor: starts and stops the I/O and engine processes, holds the control plane, speaks to the service manager."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import msgspec

from specdiffd import __version__
from specdiffd.base.config import Config, check_config
from specdiffd.base.errors import ConfigError, ControlError, DeviceError
from specdiffd.base.messages import CHANNELS, NOTE_OFF, NOTE_ON, PROGRAM
from specdiffd.control import protocol
from specdiffd.control.server import ControlServer
from specdiffd.daemon.children import Child, failure
from specdiffd.daemon.notify import Notifier
from specdiffd.daemon.processes import run_engine, run_io
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.messages import EngineReady, Failed, Go, IoReady, Loaded, MidiConnections, News, Report, Waiting
from specdiffd.shared.ring import BelledRing

log = logging.getLogger(__name__)
STATUS_S = 1.0
FADE_S = 0.1  # besides a block: less, and the end of the stream cuts the fade off
CALM_S = 3.0  # without a sound, before a standby is loaded: that takes both cores for a while


class Daemon:
    """Lifecycle: ``start``, ``serve`` until asked to stop, ``stop``. A context manager around all it owns.

    Args:
        config: the whole configuration.
        fake: play sines.
        wait: where there is no audio device, wait for one.
    """

    def __init__(self, config: Config, fake: bool = False, wait: bool = False) -> None:
        self.config, self._fake, self._wait = config, fake, wait
        self._spawn = multiprocessing.get_context("spawn")
        self._stack = ExitStack()
        self._stop = threading.Event()
        self._notifier = Notifier()
        self._report = Report()
        self._snapshot: bytes | None = None
        self._heard_s = self._started_s = time.monotonic()
        self._gain_db = config.audio.gain_db
        self._restarts = {"io": 0, "engine": 0, "standby": 0}
        self._counted: dict[str, int] = {}  # by engines before the one that plays
        self._rate_hz = 0  # that the engine plays at; 0: none does yet
        self._io = Child("io", self._create_io)
        self._engine = Child("engine", self._create_engine)
        self._standby = Child("standby", self._create_standby)

    @property
    def shared(self) -> SharedBlock:
        """What the processes share; what was put out is in it."""
        return self._shared

    @property
    def midi_api(self) -> str | None:
        """The MIDI back end in use."""
        stream = self._stream
        return stream.midi if stream else None

    @property
    def _stream(self) -> IoReady | None:
        """What the I/O process said of its stream; None while there is none."""
        return self._io.info if isinstance(self._io.info, IoReady) else None

    @property
    def sample_rate_hz(self) -> int:
        """Of the stream."""
        return self._rate_hz

    @property
    def endpoint(self) -> str:
        """Where requests are answered."""
        return self._server.endpoint

    def request_stop(self) -> None:
        """End ``serve``; safe from signal handlers and threads."""
        self._stop.set()

    def start(self) -> None:
        """Bring everything up, in order; what was started is stopped again if a later step fails.

        Raises:
            DeviceError, CheckpointError, ConfigError: saying what is missing.
        """
        with ExitStack() as stack:
            self._server = ControlServer(self.config.control, self._handle)
            stack.callback(self._server.stop)
            self._shared = SharedBlock()
            self._shared.marks.header.gain = 10 ** (self._gain_db / 20)
            self._midi_bell = self._spawn.Pipe(duplex=False)
            self._control_bell = self._spawn.Pipe(duplex=False)
            self._control_queue = BelledRing(self._shared.control_events, self._control_bell[1])
            stack.callback(self._end)
            self._io.start()
            self._engine.start()
            if self.config.engine.standby:
                self._standby.start()
            stack.callback(self._fade_out)
            self._await(self._io, lambda: bool(self._io.info or (self._wait and self._io.problem)))
            self._await(self._engine, lambda: self._engine.loaded)
            if self._stream:
                self._go(self._stream.sample_rate_hz)
                self._await(self._engine, lambda: bool(self._engine.info and self._report.render_delay_ms is not None))
            self._server.start()
            self._stack = stack.pop_all()
        log.info("ready: render delay %s ms, control at %s", self._report.render_delay_ms, self._server.endpoint)
        self._notifier.ready(self._summary())

    def serve(self) -> None:
        """Watch the children, publish status, until ``request_stop``."""
        published_s = 0.0
        while not self._stop.is_set():
            children = (self._io, self._engine, self._standby)
            wait([handle for child in children for handle in child.handles], 0.25)
            for child in children:
                self._listen(child)
            self._mend()
            self._control_queue.flush()
            now_s = time.monotonic()
            if now_s - published_s >= STATUS_S:
                published_s = now_s
                self._server.publish("status", self.status())
                self._notifier.status(self._summary())
            self._notifier.watchdog()  # children that are stuck are mended here, not by the service manager

    def stop(self) -> None:
        """Fade out, end the children, remove what was created: the reverse of ``start``."""
        self._notifier.stopping()
        self._stack.close()

    # -- children ------------------------------------------------------------------------------------------------

    def _create_io(self, pipe: Connection) -> BaseProcess:
        # A device that was there will come back: that is waited for in one process, not in a row of them.
        arguments = (self._shared, self.config, pipe, self._midi_bell[1], self._wait or self._restarts["io"] > 0)
        return self._spawn.Process(target=run_io, name="specdiffd-io", args=arguments, daemon=True)

    def _create_engine(self, pipe: Connection, background: bool = False) -> BaseProcess:
        arguments = (self._shared, self.config, self._fake, pipe, [self._midi_bell[0], self._control_bell[0]], background)
        return self._spawn.Process(target=run_engine, name="specdiffd-engine", args=arguments, daemon=True)

    def _create_standby(self, pipe: Connection) -> BaseProcess:
        return self._create_engine(pipe, background=True)

    def _await(self, child: Child, condition: Callable[[], bool]) -> None:
        """Raises: DeviceError: it failed, or takes too long."""
        while not (condition() or child.stuck(self._alive_ns(child)) or child.died or self._stop.is_set()):
            wait(child.handles, 0.1)
            self._listen(child)
        self._listen(child)  # its last words
        if child.problem and not condition():
            raise failure(Failed(child.problem, child.exit_code))
        if self._stop.is_set():
            raise DeviceError("stopped while starting")
        if not condition():
            raise DeviceError(f"a process of the {child.name} did not start")

    def _alive_ns(self, child: Child) -> int:
        """The last sign of life in shared memory; a standby gives none there."""
        header = self._shared.marks.header
        return {"io": header.io_alive_ns, "engine": header.engine_alive_ns}.get(child.name, 0)

    def _listen(self, child: Child) -> None:
        """Take what a child has said."""
        for message in child.messages():
            self._take(child, message)

    def _take(self, child: Child, message: News) -> None:
        match message:
            case Loaded():
                child.loaded = True
            case EngineReady() | IoReady():
                child.ready(message)
                if isinstance(message, IoReady):
                    log.info("%s; MIDI: %s", message.audio, message.midi or "none")
            case Report() if child is self._engine:
                self._take_report(message)
            case MidiConnections(connected) if isinstance(child.info, IoReady):
                child.info = msgspec.structs.replace(child.info, connected=connected)
            case Failed(problem, exit_code):
                self._take_problem(child, problem, exit_code)
            case Waiting(problem):
                self._take_problem(child, problem, DeviceError.exit_code)

    def _take_problem(self, child: Child, problem: str, exit_code: int) -> None:
        if problem != child.problem:
            log.error("%s: %s", child.name, problem)
        child.problem, child.exit_code = problem, exit_code

    def _take_report(self, report: Report) -> None:
        for latency in report.latencies:
            self._server.publish("latency", latency)
        for row in report.midi:
            self._server.publish("midi", dict(zip(("time_ns", "status", "data1", "data2"), row, strict=True)))
        self._snapshot = self._snapshot if report.snapshot is None else report.snapshot
        if not report.asleep:
            self._heard_s = time.monotonic()
        self._report = msgspec.structs.replace(report, latencies=[], midi=[], snapshot=None)

    def _mend(self) -> None:
        """Start again what has died, kill what is stuck; keep a standby."""
        for child in (self._io, self._engine, self._standby):
            if child.stuck(self._alive_ns(child)):
                log.error("a process of the %s is stuck, killing it", child.name)
                child.kill()
            if child.died:
                self._bury(child)
        self._mend_io()
        self._mend_engine()

    def _bury(self, child: Child) -> None:
        """Every death is counted here, and goes on from here."""
        self._listen(child)  # its last words
        problem, exit_code = child.problem, child.bury()
        self._restarts[child.name] += 1
        if not problem:
            log.error("a process of the %s died (exit code %s)", child.name, exit_code)
        if child is self._io:
            self._shared.marks.stop_clock()
        if child is self._engine:
            self._counted = self._total(self._report.counters)
            self._report = msgspec.structs.replace(self._report, counters={})

    def _total(self, counters: dict[str, int]) -> dict[str, int]:
        """Of all engines so far."""
        return {name: counters.get(name, 0) + self._counted.get(name, 0) for name in {**self._counted, **counters}}

    def _mend_io(self) -> None:
        if self._io.due:
            self._io.start()
        rate_hz = self._stream.sample_rate_hz if self._stream else self._rate_hz
        if self._rate_hz in (0, rate_hz):
            return
        if self._engine.info:
            log.info("the sample rate is %d Hz now, it was %d: another engine takes over", rate_hz, self._rate_hz)
            self._engine.kill()
        elif not self._engine.went:
            self._shared.marks.discard()  # what is there is of the old rate, and would sound at a wrong pitch

    def _mend_engine(self) -> None:
        """The standby takes over, from the score as the engine knew it and everything that was played since."""
        if self._engine.pid is None and self._standby.loaded:
            log.info("the standby takes over")
            promoted = self._standby
            promoted.name, promoted.failures = self._engine.name, self._engine.failures
            promoted.create = self._create_engine  # the next one in its place must not load behind other programs
            self._engine, self._standby = promoted, Child("standby", self._create_standby)
        elif self._engine.due:
            self._engine.start()
        if self._engine.loaded and not self._engine.went and self._stream:
            self._go(self._stream.sample_rate_hz)
        calm = time.monotonic() - self._heard_s > CALM_S
        if self.config.engine.standby and calm and self._engine.info and self._standby.due:
            self._standby.start()

    def _go(self, rate_hz: int) -> None:
        """The engine is to play; what the ones before it have died of again and again is left out."""
        failures, delay_ms, playhead = self._engine.failures, self._report.render_delay_ms, self._shared.marks.playhead
        snapshot = None if self._snapshot is None or failures > 2 else zlib.compress(self._snapshot, 1)  # it fits into the pipe at once
        go = Go(
            rate_hz,
            None if delay_ms is None else delay_ms / 1e3,
            snapshot,
            skip_events=failures > 1,
            moved_s=playhead / rate_hz - playhead / self._rate_hz if self._rate_hz else 0.0,
        )
        self._rate_hz = rate_hz
        self._engine.went = True
        self._engine.send(go)

    def _end(self) -> None:
        for child in (self._standby, self._engine, self._io):
            if not child.end():
                log.warning("a process of the %s does not stop, killed it", child.name)

    def _fade_out(self) -> None:
        self._shared.marks.header.running = 0
        time.sleep(FADE_S + self.config.audio.block_size / (self._rate_hz or 48000))  # the stream must run on for the fade to be heard

    # -- what clients see ----------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Everything worth knowing, as JSON."""
        header = self._shared.marks.header
        report, stream = self._report, self._stream
        return {
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "instrument": self.config.instrument.name if not self._fake else "sine",
            "mode": self.config.engine.mode,
            "render_delay_ms": report.render_delay_ms,
            "gain_db": self._gain_db,
            "sounding_notes": msgspec.to_builtins(report.sounding_notes),
            "programs": report.programs or [0] * CHANNELS,
            "forecast_s": round(self._shared.marks.ahead / self._rate_hz, 3) if self._rate_hz else 0.0,
            "asleep": report.asleep,
            "revision": report.revision,
            "slack": report.slack,
            "counters": {
                **self._total(report.counters),
                "missing_samples": header.missing_samples,
                "missing_runs": header.missing_runs,
                "xruns": header.xruns,
                "limited_blocks": header.limited_blocks,
                "queued_events": report.queued_events,
                "dropped_events": self._shared.live_events.dropped + self._shared.control_events.dropped,
                "dropped_telemetry": self._server.dropped,
                "control_errors": self._server.errors,
                "restarts": dict(self._restarts),
            },
            "processes": {"io": self._io.pid, "engine": self._engine.pid, "standby": self._standby.pid if self._standby.loaded else None},
            "audio": {
                "output": stream.audio if stream else None,
                "waiting": None if stream else self._io.problem or None,
                "output_latency_ms": round(header.output_latency_s * 1e3, 2),
                "peak": round(header.peak, 4),
            },
            "midi": {"api": stream.midi if stream else None, "connected": stream.connected if stream else []},
        }

    def _summary(self) -> str:
        status = self.status()
        counters = status["counters"]
        return (
            f"{status['instrument']}, render delay {status['render_delay_ms']} ms, {len(status['sounding_notes'])} notes, "
            f"{counters.get('late_splices', 0)} late, {counters['missing_runs']} dropouts"
        )

    def _handle(self, arguments: protocol.Arguments) -> Any:
        """Carry out one request, in the control thread."""
        match arguments:
            case protocol.Ping():
                return {"version": __version__, "protocol": protocol.VERSION}
            case protocol.Status():
                return self.status()
            case protocol.Panic():
                self._panic()
            case protocol.NoteOn(pitch, velocity, channel):
                self._send(NOTE_ON | (channel - 1), pitch, velocity)
            case protocol.NoteOff(pitch, channel):
                self._send(NOTE_OFF | (channel - 1), pitch, 0)
            case protocol.Program(program, channel):
                self._send(PROGRAM | (channel - 1), program)
            case protocol.Midi(status, data1, data2):
                self._send(status, data1, data2)
            case protocol.Gain(db):
                if db is not None:
                    self._set_gain(db)
                return {"gain_db": self._gain_db}
            case protocol.Get(key):
                return {"key": key, "value": self._get(key)}
            case protocol.Set(key, value):
                return {"key": key, "value": self._set(key, value)}
            case protocol.Shutdown():
                self.request_stop()
        return {}

    def _send(self, status: int, data1: int = 0, data2: int = 0) -> None:
        if not self._control_queue.put(time.monotonic_ns(), status, data1, data2):
            raise ControlError("busy", "the event queue is full, the note was dropped")

    def _panic(self) -> None:
        """The output is mute from its next block on, whatever the engine does, until that has silenced everything."""
        header = self._shared.marks.header
        header.panic_ns = time.monotonic_ns()
        header.panics += 1
        self._control_queue.ring()

    def _get(self, key: str) -> Any:
        section, _, name = key.partition(".")
        values = msgspec.to_builtins(self.config)
        if section not in values or name not in values[section]:
            keys = ", ".join(f"{s}.{k}" for s, group in values.items() for k in group)
            raise ControlError("unknown_key", f"unknown key {key!r}; there are {keys}")
        return self._gain_db if key == "audio.gain_db" else values[section][name]

    def _set(self, key: str, value: Any) -> Any:
        self._get(key)
        section, _, name = key.partition(".")
        try:
            changed = check_config({section: {name: value}}, "set")
        except ConfigError as error:
            raise ControlError("bad_value", str(error)) from error
        if key != "audio.gain_db":
            raise ControlError(
                "needs_restart", f"{key} cannot change while the daemon runs: set it in config.yaml and restart; audio.gain_db can"
            )
        self._set_gain(changed.audio.gain_db)
        return self._gain_db

    def _set_gain(self, db: float) -> None:
        self._gain_db = db
        self._shared.marks.header.gain = 10 ** (db / 20)


def run(config: Config, fake: bool = False, wait: bool = False) -> None:
    """Start, serve until SIGTERM, SIGINT, SIGHUP or a shutdown request, stop.

    Raises:
        SpecdiffdError: it could not start.
    """
    daemon = Daemon(config, fake, wait)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: daemon.request_stop())
    daemon.start()
    try:
        daemon.serve()
    finally:
        daemon.stop()
