"""What the engine process tells the supervisor while it plays, and when."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict

import msgspec

from specdiffd.base.events import Note
from specdiffd.base.messages import CHANNELS
from specdiffd.base.metrics import Durations
from specdiffd.player.delay import RenderDelay
from specdiffd.player.engine import Engine
from specdiffd.player.intake import Intake
from specdiffd.player.outbox import MOST_ROWS, Outbox
from specdiffd.player.snapshot import take_snapshot
from specdiffd.shared.messages import Report, SoundingNote

REPORT_S = 0.2  # between two reports: clients see latencies and notes so much later at most
SNAPSHOT_S = 1.0  # while a revision is urgent, between two snapshots: each holds it up by a millisecond


class Reporter:
    """Collects what has happened, and reports it about five times a second; in silence only once."""

    def __init__(self, engine: Engine, intake: Intake, delay: RenderDelay, outbox: Outbox) -> None:
        self._engine, self._intake, self._delay, self._outbox = engine, intake, delay, outbox
        self._revisions, self._slack = Durations(), Durations()
        self._latencies: deque[dict[str, float]] = deque(maxlen=MOST_ROWS)
        self._reported_s = self._snapshot_s = 0.0  # on the monotonic clock
        self._reported_asleep: int | None = None  # how many events there had been when a sleep was reported
        self._snapshot_of: tuple[int, float] | None = None  # how many events the last snapshot knew, and what was not rendered then

    @property
    def pending(self) -> bool:
        """Something has happened since a sleep was reported."""
        return self._reported_asleep != self._engine.counters.events

    def changed(self) -> None:
        """Something has happened that the engine has not counted: report it even in silence."""
        self._reported_asleep = None

    def revised(self) -> None:
        """The engine has made a revision."""
        slack_s = self._engine.slack_samples / self._engine.settings.sample_rate_hz
        self._revisions.add(self._engine.took_s)
        self._slack.add(slack_s)
        laps_s = self._engine.instrument.stopwatch.laps | {"slack": slack_s}
        self._latencies.append({name: round(seconds * 1e3, 3) for name, seconds in laps_s.items()})

    def report(self, now_s: float) -> None:
        """Report if it is time to, at ``now_s`` on the monotonic clock."""
        asleep = self._engine.asleep and not self._engine.waiting
        if now_s - self._reported_s < REPORT_S or (asleep and not self.pending):
            return
        self._reported_s, self._reported_asleep = now_s, self._engine.counters.events if asleep else None
        self._outbox.put(msgspec.structs.replace(self.status(), snapshot=self._snapshot(now_s)))
        self._latencies.clear()
        self._intake.echo.clear()

    def _snapshot(self, now_s: float) -> bytes | None:
        """A snapshot, if the last one is out of date and there is time for it."""
        engine = self._engine
        state = engine.counters.events, engine.unrendered_s
        if self._snapshot_of == state or (engine.urgent and now_s - self._snapshot_s < SNAPSHOT_S):
            return None
        self._snapshot_of, self._snapshot_s = state, now_s
        return take_snapshot(engine, self._intake.rings)

    def status(self) -> Report:
        """How things stand, without a snapshot."""
        engine = self._engine
        now_s = engine.timeline.playhead / engine.settings.sample_rate_hz + self._delay.seconds
        return Report(
            counters=self._counters(),
            revision=self._revisions.summary(),
            slack=self._slack.summary(),
            sounding_notes=[_sounding(note) for score in engine.scores for note in score.sounding(now_s)],
            programs=[engine.scores[0].program(channel) for channel in range(CHANNELS)],
            asleep=engine.asleep,
            queued_events=sum(len(ring) for ring in self._intake.rings),
            latencies=list(self._latencies),
            midi=list(self._intake.echo),
            render_delay_ms=self._delay.milliseconds,
        )

    def _counters(self) -> dict[str, int]:
        return {
            **asdict(self._engine.counters),
            "stolen_notes": sum(score.stolen_notes for score in self._engine.scores),
            "skipped_notes": self._intake.skipped_notes,
            "failed_events": self._intake.failed_events,
            "without_graph": self._engine.instrument.without_graph,
        }


def _sounding(note: Note) -> SoundingNote:
    return SoundingNote(note.channel + 1, note.pitch, note.velocity, note.program)
