"""How long the render delay must be on this machine: found by playing densely, in real time, to nobody."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.clock import ClockState
from specdiffd.base.events import Event
from specdiffd.base.messages import NOTE_OFF, NOTE_ON
from specdiffd.base.metrics import Durations
from specdiffd.player.engine import Engine, EngineSettings
from specdiffd.shared.timeline import Timeline

log = logging.getLogger(__name__)
KEPT = 99  # percent of the revisions that the render delay is made for; the margin does the rest
MARGIN_S = 0.005  # whoever plays to us takes some of the processor, too
KEPT_OF_ALL = 98  # percent, at least: a third that is left out may have more that were late than playing may have
THIRDS = 3  # of a rehearsal, each with its own percentile, of which the middle one counts: a stall of the machine falls into one
LONGEST_REHEARSED_S = 0.25  # a revision; an instrument that is slower than that is not for playing
IDLE_S = 0.0005


class Measured(NamedTuple):
    """What playing to nobody has shown, in seconds."""

    delay_s: float
    revisions: Durations
    late: float  # of 1, at that delay

    def __str__(self) -> str:
        p50, p99 = (self.revisions.percentile_ms(p) or 0.0 for p in (50, 99))
        return f"{self.revisions.count} revisions: median {p50:.1f} ms, 99th percentile {p99:.1f} ms"


def measure(instrument: Any, settings: EngineSettings, seconds: float, alive: Callable[[], object] = lambda: None) -> Measured:
    """The render delay that nearly all revisions keep while somebody plays densely: by playing so, to nobody, in real time.

    Also warms everything up. ``alive`` is called all the while.
    """
    rate = settings.sample_rate_hz
    lost_s = (settings.guard_samples + settings.least_fade_samples + settings.before_onset_samples + settings.block_samples) / rate
    _, revisions = rehearse(instrument, settings, 0.2, seconds / 4, 1, alive)
    typical_s = (revisions.percentile_ms(50) or 0.0) / 1e3
    delay_s = lost_s + 2 * typical_s  # an event that comes amid a revision waits for that one, too
    if typical_s > LONGEST_REHEARSED_S:
        return Measured(delay_s + MARGIN_S, revisions, 0.0)
    slack, revisions = rehearse(instrument, settings, delay_s, seconds, 0, alive)
    needed = delay_s - slack
    usual = np.median([np.percentile(part, KEPT) for part in np.array_split(needed, THIRDS)])
    delay_s = float(max(usual, np.percentile(needed, KEPT_OF_ALL))) + MARGIN_S
    return Measured(delay_s, revisions, float(np.mean(needed > delay_s)))


def rehearse(
    instrument: Any, settings: EngineSettings, delay_s: float, seconds: float, seed: int, alive: Callable[[], object] = lambda: None
) -> tuple[NDArray[np.float64], Durations]:
    """Dense playing in real time at a render delay, on a timeline of its own: each revision's slack in seconds, and durations."""
    log.debug("rehearsing %.1f s with a render delay of %.1f ms", seconds, 1e3 * delay_s)
    timeline = Timeline()
    timeline.clear()
    engine = Engine(instrument, timeline, settings)
    rate, block = settings.sample_rate_hz, settings.block_samples
    waiting = deque(dense_playing(seconds, seed))
    slack, durations = [], Durations(4096)
    started_ns = time.monotonic_ns()
    timeline.set_clock(ClockState(0.0, float(started_ns), float(rate)))
    while (now_s := (time.monotonic_ns() - started_ns) / 1e9) < seconds:
        alive()
        timeline.header.playhead = (int(now_s * rate) // block + 1) * block
        while waiting and waiting[0].time_s <= now_s:
            event = waiting.popleft()
            engine.play(event._replace(time_s=event.time_s + delay_s))
        done = engine.counters.revisions
        if not engine.work():
            time.sleep(IDLE_S)
        if engine.counters.revisions > done:
            durations.add(engine.took_s)
            slack.append(engine.slack_samples / rate)
    return np.array(slack or [0.0]), durations


def dense_playing(seconds: float, seed: int) -> list[Event]:
    """Chords and a melody, about sixteen notes a second, each let go about when the next is struck."""
    rng = np.random.default_rng(seed)
    events, now_s = [], 0.05
    while now_s < seconds:
        following_s = now_s + rng.choice((0.08, 0.12, 0.16, 0.25))
        for _ in range(rng.choice((1, 2, 3, 4))):
            pitch, on_s = int(rng.integers(40, 90)), now_s + rng.uniform(0, 0.02)
            off_s = following_s + rng.choice((0, 0.2)) + rng.uniform(-0.025, 0.005)
            events += [Event(on_s, NOTE_ON, pitch, int(rng.integers(40, 120))), Event(off_s, NOTE_OFF, pitch)]
        now_s = following_s
    return sorted(events, key=lambda event: event.time_s)
