"""Events on their way from the rings into the engine: put in order, limited in number, and mapped onto the sample clock."""

from __future__ import annotations

import logging
from collections import deque
from operator import itemgetter

from specdiffd.base.clock import ClockState
from specdiffd.base.events import Event
from specdiffd.base.messages import NOTE_ON
from specdiffd.player.delay import RenderDelay
from specdiffd.player.engine import Engine
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.messages import Row

log = logging.getLogger(__name__)
# Notes that may begin. Each needs a timbre, 0.3 ms of work: with more of them there is no time for anything else, and a flood of notes would
# be silence. Nobody plays as many; a chord of all keys may begin at once.
NOTES_PER_S, NOTES_AT_ONCE = 400, 128
ECHO = 256  # events of a report: more, and a flood of events fills the pipe to the supervisor


class NoteBudget:
    """How many notes may begin: a bucket of ``NOTES_AT_ONCE`` that ``NOTES_PER_S`` refill."""

    def __init__(self) -> None:
        self._notes, self._time_ns = float(NOTES_AT_ONCE), 0

    def spend(self, time_ns: int) -> bool:
        """Whether one more note may begin at ``time_ns``; it then counts."""
        earned = max(0.0, (time_ns - self._time_ns) * NOTES_PER_S / 1e9)
        self._notes, self._time_ns = min(NOTES_AT_ONCE, self._notes + earned), time_ns
        if self._notes < 1:
            return False
        self._notes -= 1
        return True


class Intake:
    """Takes events from the rings and plays them through the engine.

    Attributes:
        rings: from the MIDI ports, and from the control plane.
        echo: events that were taken since the last report; the reporter empties it.
        skipped_notes: notes for which there was no budget.
        failed_events: events that raised an error.
    """

    def __init__(self, shared: SharedBlock, engine: Engine, delay: RenderDelay) -> None:
        self._timeline, self._header = shared.timeline, shared.timeline.header
        self._engine, self._delay = engine, delay
        self.rings = shared.live_events, shared.control_events
        self.echo: deque[Row] = deque(maxlen=ECHO)
        self.skipped_notes = self.failed_events = 0
        self._budget = NoteBudget()
        self._after_panic: list[Row] = []  # events that came after a panic, which is over now
        self._last_s = 0.0  # on the timeline, when the last event sounds
        self._away_s: float | None = None  # on the timeline, since when nobody hears

    @property
    def panic_pending(self) -> bool:
        """A panic waits for the output to be mute, or events wait for the end of one."""
        return self._timeline.panicking or bool(self._after_panic)

    def take(self) -> None:
        """Play the events that have come."""
        waiting, clock = self._waiting(), self._timeline.clock()
        if clock is None:
            self._follow(waiting)
            return
        self._away_s = None
        for row in waiting:
            if row[1] & 0xF0 == NOTE_ON and row[3] > 0 and not self._budget.spend(row[0]):
                self.skipped_notes += 1
                continue
            self._last_s = max(self._last_s, self._sounds_at_s(clock, row[0]))  # a score takes events in order
            self._play(row)

    def panic(self) -> bool:
        """Silence everything once the output is mute; False: it is not yet.

        Events from before the panic are over. Those from after it are played at the next ``take``.
        """
        panics = self._header.panics
        if self._header.muted_panics < panics and not self._timeline.at_rest and self._timeline.clock() is not None:
            return False
        waiting = self._waiting()
        for row in waiting:
            if row[0] <= self._header.panic_ns:
                self._play(row)
        self._after_panic = [row for row in waiting if row[0] > self._header.panic_ns]
        self._engine.panic()
        self._header.handled_panics = panics
        return True

    def drop_waiting(self) -> int:
        """Leave out what has come; returns how many events."""
        return sum(len(ring.take()) for ring in self.rings)

    def _waiting(self) -> list[Row]:
        """What has come, in order of time; at one moment in order of arrival."""
        waiting, self._after_panic = self._after_panic, []
        for ring in self.rings:
            waiting += ring.take()
        return sorted(waiting, key=itemgetter(0))

    def _follow(self, waiting: list[Row]) -> None:
        """There is no stream: events change the state, and notes that begin and end meanwhile are never heard."""
        if self._away_s is None:
            self._away_s = max(self._last_s, self._timeline.playhead / self._engine.settings.sample_rate_hz + self._delay.seconds)
        self._last_s = self._away_s
        for row in waiting:
            self._play(row)
        if waiting:
            self._engine.discard(self._away_s)

    def _play(self, row: Row) -> None:
        _, status, data1, data2 = row
        try:
            self._engine.play(Event(self._last_s, status, data1, data2))
        except Exception:  # one event that the score fails on must not take the others with it
            self.failed_events += 1
            log.exception("left out the event %s", row)
        if status & 0xF0 == NOTE_ON or status >= 0xF0 or len(self.echo) < ECHO:
            self.echo.append(row)

    def _sounds_at_s(self, clock: ClockState, time_ns: int) -> float:
        """When an event stamped ``time_ns`` sounds, on the timeline. Events from before the stream sound when it begins."""
        sample = max(clock.sample_at(time_ns), self._header.clock_start)
        return sample / self._engine.settings.sample_rate_hz + self._delay.seconds
