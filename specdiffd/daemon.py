"""The supervisor: starts and stops the I/O and engine processes, holds the control plane, speaks to the service manager."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import msgspec

from specdiffd import __version__
from specdiffd.config import Config, check_config
from specdiffd.control import protocol
from specdiffd.control.server import ControlServer
from specdiffd.errors import ConfigError, ControlError, DeviceError
from specdiffd.events import CHANNELS, CONTROL, NOTE_OFF, NOTE_ON, PROGRAM
from specdiffd.io.process import run_io
from specdiffd.io.ring import BelledRing
from specdiffd.io.shared import PlayedRing, SharedBlock
from specdiffd.notify import Notifier
from specdiffd.worker import run_engine

log = logging.getLogger(__name__)
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0
STATUS_S = 1.0
ALIVE_S = 5.0  # a child whose sign of life is older than this is stuck
FADE_S = 0.1
RESTART_PAUSE_S = 0.5


@dataclass
class Child:
    """A child process and the pipe to it."""

    name: str
    process: Any
    pipe: Connection
    info: dict[str, Any] = field(default_factory=dict)


class Daemon:
    """Lifecycle: ``start``, ``serve`` until asked to stop, ``stop``. A context manager around all it owns."""

    def __init__(self, config: Config, fake: bool = False) -> None:
        self.config, self._fake = config, fake
        self._spawn = multiprocessing.get_context("spawn")
        self._stack = ExitStack()
        self._stop = threading.Event()
        self._notifier = Notifier()
        self._report: dict[str, Any] = {}
        self._restarts = {"io": 0, "engine": 0}
        self._started_s = time.monotonic()
        self._gain_db = config.audio.gain_db

    @property
    def played(self) -> PlayedRing:
        """What was put out."""
        return self._shared.played

    @property
    def midi_api(self) -> str | None:
        """The MIDI back end in use."""
        return self._io.info.get("midi")

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
            self._shared.timeline.header["gain"] = 10 ** (self._gain_db / 20)
            self._midi_bell = self._spawn.Pipe(duplex=False)
            self._control_bell = self._spawn.Pipe(duplex=False)
            self._control_queue = BelledRing(self._shared.control_events, self._control_bell[1])
            self._io = self._start_io()
            stack.callback(self._end, "io")
            self._engine = self._start_engine()
            stack.callback(self._end, "engine")
            stack.callback(self._fade_out)
            self._await_ready(self._io)
            self._await_ready(self._engine)
            self._server.start()
            self._stack = stack.pop_all()
        log.info("%s; MIDI: %s", self._io.info["audio"], self._io.info["midi"] or "none")
        log.info("ready: render delay %s ms, control at %s", self._engine.info["render_delay_ms"], self._server.endpoint)
        self._notifier.ready(self._summary())

    def serve(self) -> None:
        """Watch the children, publish status, until ``request_stop``."""
        published_s = 0.0
        while not self._stop.is_set():
            for pipe in wait([self._io.pipe, self._engine.pipe, self._io.process.sentinel, self._engine.process.sentinel], 0.25):
                if pipe is self._io.pipe:
                    self._read(self._io)
                elif pipe is self._engine.pipe:
                    self._read(self._engine)
            self._mend()
            if self._server.error is not None:
                raise self._server.error
            now_s = time.monotonic()
            if now_s - published_s >= STATUS_S:
                published_s = now_s
                self._server.publish("status", self.status())
                self._notifier.status(self._summary())
            if self._healthy():
                self._notifier.watchdog()

    def stop(self) -> None:
        """Fade out, end the children, remove what was created: the reverse of ``start``."""
        self._notifier.stopping()
        self._stack.close()

    # -- children ------------------------------------------------------------------------------------------------

    def _start_io(self) -> Child:
        mine, theirs = self._spawn.Pipe()
        arguments = (self._shared, self.config, theirs, self._midi_bell[1])
        process = self._spawn.Process(target=run_io, name="specdiffd-io", args=arguments, daemon=True)
        process.start()
        theirs.close()
        return Child("io", process, mine)

    def _start_engine(self) -> Child:
        mine, theirs = self._spawn.Pipe()
        arguments = (self._shared, self.config, self._fake, theirs, [self._midi_bell[0], self._control_bell[0]])
        process = self._spawn.Process(target=run_engine, name="specdiffd-engine", args=arguments, daemon=True)
        process.start()
        theirs.close()
        return Child("engine", process, mine)

    def _await_ready(self, child: Child) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and not self._stop.is_set():
            if child.pipe.poll(0.1):
                try:
                    kind, content = child.pipe.recv()
                except EOFError:
                    break
                if kind == "ready":
                    child.info = content
                    return
                if kind == "report":
                    self._take_report(content)
                if kind == "failed":
                    text, exit_code = content
                    error = DeviceError(text)
                    error.exit_code = exit_code
                    raise error
            elif not child.process.is_alive():
                break
        if self._stop.is_set():
            raise DeviceError("stopped while starting")
        raise DeviceError(f"the {child.name} process did not start (exit code {child.process.exitcode})")

    def _read(self, child: Child) -> None:
        try:
            while child.pipe.poll():
                kind, content = child.pipe.recv()
                if kind == "report":
                    self._take_report(content)
                elif kind == "midi":
                    child.info["connected"] = content
                elif kind == "failed":
                    log.error("%s: %s", child.name, content[0])
        except (EOFError, OSError):
            return  # its sentinel tells

    def _take_report(self, content: dict[str, Any]) -> None:
        for row in content.pop("latencies"):
            self._server.publish("latency", row)
        for row in content.pop("midi"):
            self._server.publish("midi", dict(zip(("time_ns", "status", "data1", "data2"), row, strict=True)))
        self._report = content

    def _mend(self) -> None:
        """Start a child again that has died; the other goes on."""
        for name, start in (("io", self._start_io), ("engine", self._start_engine)):
            child = getattr(self, f"_{name}")
            if child.process.is_alive() or self._stop.is_set():
                continue
            log.error("the %s process died (exit code %s), starting it again", name, child.process.exitcode)
            self._restarts[name] += 1
            self._notifier.status(f"restarting {name}")
            child.pipe.close()
            if self._stop.wait(RESTART_PAUSE_S * min(10, self._restarts[name])):
                return
            setattr(self, f"_{name}", start())
            self._await_ready(getattr(self, f"_{name}"))

    def _end(self, name: str) -> None:
        child: Child = getattr(self, f"_{name}")
        if not child.info:  # still starting, with nothing to end in order
            child.process.kill()
        with suppress(OSError, ValueError):  # it may be gone already
            child.pipe.send("stop")
        child.process.join(STOP_TIMEOUT_S)
        if child.process.is_alive():
            log.warning("the %s process does not stop, killing it", name)
            child.process.kill()
            child.process.join()
        child.pipe.close()

    def _fade_out(self) -> None:
        self._shared.timeline.header["running"] = 0
        time.sleep(FADE_S)  # the stream itself must run on for the fade to be heard

    def _healthy(self) -> bool:
        """The audio clock moves and the engine comes round."""
        header, now_ns = self._shared.timeline.header, time.monotonic_ns()
        clock = self._shared.timeline.clock()
        ages_s = [(now_ns - int(header[name][0])) / 1e9 for name in ("io_alive_ns", "engine_alive_ns")]
        return clock is not None and now_ns - clock.time_ns < ALIVE_S * 1e9 and max(ages_s) < ALIVE_S

    # -- what clients see ----------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Everything worth knowing, as JSON."""
        header = self._shared.timeline.header
        report = self._report
        return {
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "instrument": self.config.instrument.name if not self._fake else "sine",
            "render_delay_ms": self._engine.info.get("render_delay_ms"),
            "gain_db": self._gain_db,
            "sounding_notes": report.get("sounding_notes", []),
            "programs": report.get("programs", [0] * CHANNELS),
            "forecast_s": report.get("forecast_s", 0.0),
            "asleep": report.get("asleep", True),
            "revision": report.get("revision", {}),
            "counters": {
                **report.get("counters", {}),
                "missing_samples": int(header["missing_samples"][0]),
                "missing_runs": int(header["missing_runs"][0]),
                "xruns": int(header["xruns"][0]),
                "limited_blocks": int(header["limited_blocks"][0]),
                "dropped_events": report.get("dropped_events", 0),
                "dropped_telemetry": self._server.dropped,
                "restarts": dict(self._restarts),
            },
            "audio": {
                "output": self._io.info.get("audio"),
                "output_latency_ms": round(float(header["output_latency_s"][0]) * 1e3, 2),
                "peak": round(float(header["peak"][0]), 4),
            },
            "midi": {"api": self._io.info.get("midi"), "connected": self._io.info.get("connected", [])},
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
                for channel in range(CHANNELS):
                    self._send(CONTROL | channel, 120, 0)
                    self._send(CONTROL | channel, 121, 0)
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
            raise ControlError("busy", "the event queue is full, the message was dropped")

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
        self._shared.timeline.header["gain"] = 10 ** (db / 20)


def run(config: Config, fake: bool = False) -> None:
    """Start, serve until SIGTERM, SIGINT or a shutdown request, stop.

    Raises:
        SpecdiffdError: it could not start.
    """
    daemon = Daemon(config, fake)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.request_stop())
    daemon.start()
    try:
        daemon.serve()
    finally:
        daemon.stop()
