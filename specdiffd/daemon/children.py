"""A child process of the supervisor: started, listened to, started again after a pause when it dies."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from specdiffd.base.errors import DeviceError
from specdiffd.base.text import told
from specdiffd.shared.messages import EngineReady, Failed, IoReady, Message, News, Stop, decode_news, send

log = logging.getLogger(__name__)
# Without a sign of life for longer a child is stuck. While it starts, a step of that may take long: a minute on a slow machine. Where others
# take nearly all of the processor, a standby, which goes behind them, may take half an hour: it counts what the child got of the processor.
START_TIMEOUT_S, ALIVE_S = 120.0, 5.0
STOP_TIMEOUT_S = 5.0
RETRY_S, LONGEST_RETRY_S = 0.25, 2.0
HEALTHY_S = 5.0  # one that was ready for so long has not died of what the ones before it died of


class Work(NamedTuple):
    """How much of the processor a process has had until a moment."""

    time_ns: int  # of the monotonic clock
    processor_s: float  # 0 where the system does not tell

    @classmethod
    def of(cls, pid: int | None) -> Work:
        """Until now."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return cls(time.monotonic_ns(), 0.0)
        return cls(time.monotonic_ns(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))  # user and system, proc(5)


NEVER = Work(0, 0.0)


@dataclass
class Child:
    """One process and the pipe to it. Each message from it is a sign of life.

    Attributes:
        create: makes the process, given its end of the pipe; does not start it.
        loaded: it waits for the word, or has had it.
        went: it was told to play.
        info: what it said when it was ready; None before.
        problem: why it could not start the last time, and the exit code that goes with it.
        failures: how many have died one after the other, none of which was ready for long.
    """

    name: str
    create: Callable[[Connection], BaseProcess]
    loaded: bool = False
    went: bool = False
    info: EngineReady | IoReady | None = None
    problem: str = ""
    exit_code: int = 1
    failures: int = 0
    _process: BaseProcess | None = None
    _pipe: Connection | None = None
    _heard: Work = NEVER  # when it last gave a sign of life
    _worked: Work = NEVER  # when it was last seen to have worked
    _ready_s: float = 0.0
    _retry_s: float = 0.0

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Started, and not dead."""
        return self._process is not None and self._process.is_alive()

    @property
    def died(self) -> bool:
        """Started, and dead: ``bury`` it."""
        return self._process is not None and not self._process.is_alive()

    @property
    def due(self) -> bool:
        """Not started, and it is time to."""
        return self._process is None and time.monotonic() >= self._retry_s

    @property
    def handles(self) -> list[Any]:
        """What to wait for: messages, and its death."""
        return [self._pipe, self._process.sentinel] if self._process is not None and self._pipe is not None else []

    def stuck(self, alive_ns: int = 0) -> bool:
        """It runs, but has given no sign of life for too long.

        Args:
            alive_ns: the last one that it gave otherwise than by messages, on the monotonic clock.
        """
        if not self.running:
            return False
        if not (self.loaded or self.info):
            return self._starts_no_more()
        return time.monotonic_ns() - max(alive_ns, self._heard.time_ns) > ALIVE_S * 1e9

    def _starts_no_more(self) -> bool:
        """It has said nothing for long, and all the while it has done nothing, or worked for too long."""
        now = Work.of(self.pid)
        if now.processor_s > self._worked.processor_s:
            self._worked = now
        silent_s, idle_s = (1e-9 * (now.time_ns - since.time_ns) for since in (self._heard, self._worked))
        worked_s = now.processor_s - self._heard.processor_s
        return silent_s > START_TIMEOUT_S and max(idle_s, worked_s) > START_TIMEOUT_S

    def start(self) -> None:
        """Start it."""
        self._pipe, theirs = Pipe()
        self._process = self.create(theirs)
        self._process.start()
        self._hear()
        theirs.close()

    def send(self, message: Message) -> None:
        """A message to it, and time to heed it; nothing happens if it is gone."""
        self._hear()
        with suppress(OSError, ValueError):
            if self._pipe is not None:
                send(self._pipe, message)

    def messages(self) -> Iterator[News]:
        """What it has said since the last time. Bytes that are no message are left out and logged."""
        while (data := self._received()) is not None:
            try:
                message = decode_news(data)
            except Exception as error:
                log.warning("a message of the %s cannot be read: %s", self.name, told(error))
                continue
            self._hear()
            yield message

    def _received(self) -> bytes | None:
        """The next message's bytes; None: there is none."""
        try:
            return self._pipe.recv_bytes() if self._pipe is not None and self._pipe.poll() else None
        except (OSError, EOFError):  # it died, maybe within a message: its death is noticed elsewhere
            return None

    def _hear(self) -> None:
        self._heard = self._worked = Work.of(self.pid)

    def ready(self, info: EngineReady | IoReady) -> None:
        """It has said that it is."""
        self.info, self.problem, self._ready_s = info, "", time.monotonic()

    def bury(self) -> int | None:
        """Forget the dead process; returns its exit code. It may be started again after a pause, longer each time."""
        assert self._process is not None
        exit_code = self._process.exitcode
        self.failures = 1 if self.info and time.monotonic() - self._ready_s > HEALTHY_S else self.failures + 1
        self._close()
        self._retry_s = time.monotonic() + min(LONGEST_RETRY_S, RETRY_S * self.failures)
        return exit_code

    def kill(self) -> None:
        """At once; it is dead afterwards."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def end(self) -> bool:
        """Ask it to stop, insist after a while; False if that was necessary."""
        if self._process is None:
            return True
        if not (self.loaded or self.info):  # still starting, with nothing to end in order
            self._process.kill()
        self.send(Stop())
        self._process.join(STOP_TIMEOUT_S)
        in_order = not self._process.is_alive()
        self.kill()
        self._close()
        return in_order

    def _close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        self._process, self._pipe, self.loaded, self.went, self.info = None, None, False, False, None


def failure(failed: Failed) -> DeviceError:
    """Why a child could not start, as an error with its exit code."""
    error = DeviceError(failed.problem)
    error.exit_code = failed.exit_code
    return error
