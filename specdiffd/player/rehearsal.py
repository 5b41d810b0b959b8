"""How long the render delay must be on this machine: measured by playing densely, in real time, with no output."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.clock import ClockState
from specdiffd.base.events import Event
from specdiffd.base.instrument import Instrument
from specdiffd.base.messages import NOTE_OFF, NOTE_ON
from specdiffd.base.metrics import Durations
from specdiffd.player.engine import Engine
from specdiffd.player.settings import EngineSettings
from specdiffd.shared.timeline import Timeline

log = logging.getLogger(__name__)
KEPT_PERCENT = 99  # of the revisions are in time at the measured delay, before the margin: more, and chance decides
LEAST_KEPT_PERCENT = 98  # of all revisions: the part that is left out may have had more late ones than playing may have
# A rehearsal has three parts, each with its own percentile, and the middle one counts: a stall of the machine falls into one part. With one
# part it would decide.
PARTS = 3
MARGIN_S = 0.005  # the musician's other programs take some of the processor, too
LONGEST_REHEARSED_S = 0.25  # a revision; an instrument that takes longer is not for playing, and a rehearsal would take minutes
IDLE_S = 0.0005  # sleep when there is no work: longer, and it counts as slowness


class Measured(NamedTuple):
    """Result of a rehearsal."""

    delay_s: float
    revisions: Durations
    late_share: float  # of the revisions, at that delay; 0 to 1

    def __str__(self) -> str:
        p50, p99 = (self.revisions.percentile_ms(p) or 0.0 for p in (50, 99))
        return f"{self.revisions.count} revisions: median {p50:.1f} ms, 99th percentile {p99:.1f} ms"


def measure(instrument: Instrument[Any], settings: EngineSettings, length_s: float, alive: Callable[[], object] = lambda: None) -> Measured:
    """The render delay at which nearly all revisions of dense playing are in time. Also warms everything up.

    Args:
        instrument: is played in real time.
        settings: of the engine.
        length_s: of the rehearsal; a quarter more is played first, to find a delay to rehearse at.
        alive: is called all the while.
    """
    samples = settings.guard_samples + settings.least_fade_samples + settings.before_onset_samples + settings.block_samples
    lost_s = samples / settings.sample_rate_hz
    _, revisions = rehearse(instrument, settings, 0.2, length_s / 4, 1, alive)
    typical_s = (revisions.percentile_ms(50) or 0.0) / 1e3
    delay_s = lost_s + 2 * typical_s  # an event that comes amid a revision waits for that one, too
    if typical_s > LONGEST_REHEARSED_S:
        return Measured(delay_s + MARGIN_S, revisions, 0.0)
    slack_s, revisions = rehearse(instrument, settings, delay_s, length_s, 0, alive)
    needed_s = delay_s - slack_s
    usual_s = np.median([np.percentile(part, KEPT_PERCENT) for part in np.array_split(needed_s, PARTS)])
    delay_s = float(max(usual_s, np.percentile(needed_s, LEAST_KEPT_PERCENT))) + MARGIN_S
    return Measured(delay_s, revisions, float(np.mean(needed_s > delay_s)))


def rehearse(
    instrument: Instrument[Any],
    settings: EngineSettings,
    delay_s: float,
    length_s: float,
    seed: int,
    alive: Callable[[], object] = lambda: None,
) -> tuple[NDArray[np.float64], Durations]:
    """Play densely in real time on a timeline that nobody hears.

    Args:
        instrument: is played.
        settings: of the engine.
        delay_s: the render delay.
        length_s: of what is played.
        seed: of the notes.
        alive: is called all the while.

    Returns:
        Each revision's slack in seconds, (revisions,), one zero if there is none, and how long they took.
    """
    log.debug("rehearsing %.1f s with a render delay of %.1f ms", length_s, 1e3 * delay_s)
    timeline = Timeline()
    timeline.clear()
    engine = Engine(instrument, timeline, settings)
    waiting = deque(dense_playing(length_s, seed))
    slack_s, durations = [], Durations(4096)
    for now_s in _in_real_time(timeline, settings, length_s):
        alive()
        while waiting and waiting[0].time_s <= now_s:
            event = waiting.popleft()
            engine.play(event._replace(time_s=event.time_s + delay_s))
        done = engine.counters.revisions
        if not engine.work():
            time.sleep(IDLE_S)
        if engine.counters.revisions > done:
            durations.add(engine.took_s)
            slack_s.append(engine.slack_samples / settings.sample_rate_hz)
    return np.array(slack_s or [0.0]), durations


def _in_real_time(timeline: Timeline, settings: EngineSettings, length_s: float) -> Iterator[float]:
    """Move a timeline's playhead in real time for ``length_s``; yields the time in seconds, over and over."""
    rate_hz, block = settings.sample_rate_hz, settings.block_samples
    started_ns = time.monotonic_ns()
    timeline.set_clock(ClockState(0.0, float(started_ns), float(rate_hz)))
    while (now_s := (time.monotonic_ns() - started_ns) / 1e9) < length_s:
        timeline.header.playhead = (int(now_s * rate_hz) // block + 1) * block
        yield now_s


def dense_playing(length_s: float, seed: int) -> list[Event]:
    """Chords and a melody for ``length_s``: about sixteen notes a second, each let go about when the next is struck."""
    rng = np.random.default_rng(seed)
    events, now_s = [], 0.05
    while now_s < length_s:
        following_s = now_s + rng.choice((0.08, 0.12, 0.16, 0.25))
        for _ in range(rng.choice((1, 2, 3, 4))):
            pitch, on_s = int(rng.integers(40, 90)), now_s + rng.uniform(0, 0.02)
            off_s = following_s + rng.choice((0, 0.2)) + rng.uniform(-0.025, 0.005)
            events += [Event(on_s, NOTE_ON, pitch, int(rng.integers(40, 120))), Event(off_s, NOTE_OFF, pitch)]
        now_s = following_s
    return sorted(events, key=lambda event: event.time_s)
