"""The engine on a virtual clock with the sine instrument: what is heard is known sample by sample."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from virtual_stream import VirtualStream

from specdiffd.base.clock import SampleClock
from specdiffd.base.events import Event, Performance
from specdiffd.base.instrument import Preparation, Stages
from specdiffd.instruments.sine import SineInstrument, SineState
from specdiffd.midi.score import Score
from specdiffd.player.engine import Engine
from specdiffd.player.policy import Pace
from specdiffd.player.settings import settings_for
from specdiffd.shared.timeline import Timeline

RATE = 48000
DELAY_S = 0.05


def melody(seed: int, notes: int, spacing_s: float) -> list[Event]:
    rng = np.random.default_rng(seed)
    events = []
    for k in range(notes):
        at = 0.2 + k * spacing_s + rng.uniform(0, spacing_s / 2)
        pitch = int(rng.integers(45, 85))
        events += [Event(at, 0x90, pitch, int(rng.integers(20, 127))), Event(at + rng.uniform(0.002, 0.6), 0x80, pitch, 0)]
    return sorted(events, key=lambda e: e.time_s)


def expected(events: list[Event], samples: int, delay_s: float) -> np.ndarray:
    score = Score().extend(e._replace(time_s=e.time_s + delay_s) for e in events)
    return SineInstrument.sound(score.performance, np.arange(samples) / RATE)


def build(pieces: int | None = None, **changes: object) -> tuple[Engine, VirtualStream]:
    timeline = Timeline()
    timeline.clear()
    engine = Engine(SineInstrument(), timeline, settings_for(RATE, 256, 10.0, 2.0, 1))
    return engine, VirtualStream(timeline, engine.play, engine.work, delay_s=DELAY_S, pieces_per_block=pieces)


@pytest.mark.parametrize(("seed", "spacing_s"), [(0, 0.3), (1, 0.05), (2, 1.0)])
def test_every_sample_is_the_sine_that_was_played(seed: int, spacing_s: float) -> None:
    events = melody(seed, 30, spacing_s)
    engine, stream = build()
    heard = stream.run(events, 30 * spacing_s + 1.5)
    error = np.abs(heard[:, 0] - expected(events, len(heard), DELAY_S))
    assert error.max() < 2e-4  # the resampler, and nothing at the splices
    assert engine.counters.late_splices == 0
    assert engine.counters.stale_fades == 0
    assert engine.timeline.header.missing_samples == 0
    assert not heard[:, 1].any()  # nothing listens to what goes to the reverberation


def test_the_same_script_gives_the_same_samples() -> None:
    events = melody(5, 20, 0.1)
    assert np.array_equal(build()[1].run(events, 3), build()[1].run(events, 3))


def test_nothing_is_computed_in_silence() -> None:
    engine, stream = build()
    stream.run([Event(0.1, 0x90, 60, 100), Event(0.3, 0x80, 60, 0)], 3.0)
    assert engine.asleep
    slices = engine.counters.slices
    stream.run([Event(0.0, 0xB0, 64, 127), Event(0.0, 0xC0, 5)], 1.0)
    assert engine.counters.slices == slices
    assert engine.asleep


def test_a_held_note_goes_on_for_minutes() -> None:
    events = [Event(0.1, 0x90, 60, 100)]
    engine, stream = build()
    heard = stream.run(events, 60.0)
    assert np.abs(heard[:, 0] - expected(events, len(heard), DELAY_S)).max() < 2e-4
    assert engine.timeline.header.missing_samples == 0


def test_a_slow_engine_fades_and_counts_but_never_plays_stale_audio() -> None:
    """One piece of work in 40 blocks (213 ms): revisions are late, notes still sound, no click, nothing stale."""
    events = melody(3, 12, 0.4)
    engine, _ = build()
    turns = iter(range(10**9))
    stream = VirtualStream(
        engine.timeline, engine.play, lambda: next(turns) % 40 == 0 and engine.work(), delay_s=DELAY_S, pieces_per_block=1
    )
    heard = stream.run(events, 8.0)[:, 0]
    assert engine.counters.late_splices > 0
    steps = np.abs(np.diff(heard))
    natural = np.abs(np.diff(expected(events, len(heard), DELAY_S))).max()
    assert steps.max() < 1.5 * natural + 0.1 / 48  # a 1 ms fade of one note at most on top


def test_a_dead_engine_ends_in_a_fade() -> None:
    engine, stream = build()
    stream.run([Event(0.1, 0x90, 60, 100)], 1.0)
    dead = VirtualStream(engine.timeline, engine.play, lambda: False)
    tail = dead.run([], 4.0)[:, 0]
    last = np.flatnonzero(np.abs(tail) > 0)[-1]
    assert np.abs(tail[last - 48 : last]).max() < 1e-3
    assert np.abs(np.diff(tail)).max() < 0.01
    assert engine.timeline.header.missing_samples > 0


@pytest.mark.parametrize("rendered", [True, False])
def test_another_engine_takes_over_where_the_forecast_ends(rendered: bool) -> None:
    """What stands in the timeline is not touched; unless the dead engine knew of more than it had rendered."""
    events = [Event(0.1, 0x90, 60, 100)]
    engine, stream = build()
    heard = [stream.run(events, 1.0)]
    if not rendered:
        events.append(Event(1.0, 0x90, 67, 100))
        engine.play(events[1]._replace(time_s=1.0 + DELAY_S))
    successor = Engine(SineInstrument(), engine.timeline, engine.settings)
    successor.resume(engine.scores, engine.unrendered_s)
    before = engine.timeline.read(engine.timeline.playhead, RATE)
    while successor.urgent:
        successor.work()
    assert np.array_equal(before, engine.timeline.read(engine.timeline.playhead, RATE)) == rendered
    heard.append(VirtualStream(engine.timeline, successor.play, successor.work).run([], 3.0))
    whole = np.concatenate(heard)[:, 0]
    assert np.abs(whole - expected(events, len(whole), DELAY_S)).max() < 2e-4
    assert successor.counters.late_splices == successor.counters.stale_fades == 0
    assert engine.timeline.header.missing_samples == 0


def test_late_event_keeps_its_note() -> None:
    """An event whose sound is already due starts as soon as it can, faded in."""
    engine, _ = build()
    stream = VirtualStream(engine.timeline, engine.play, engine.work, delay_s=0.0)
    events = [Event(0.5, 0x90, 60, 100), Event(0.9, 0x80, 60, 0)]
    heard = stream.run(events, 2.0)[:, 0]
    assert engine.counters.late_splices == 2
    wanted = expected(events, len(heard), 0.0)
    held = slice(round(0.52 * RATE), round(0.9 * RATE))
    assert np.abs(heard[held] - wanted[held]).max() < 2e-4


def test_parts_are_mixed() -> None:
    timeline = Timeline()
    timeline.clear()
    engine = Engine(SineInstrument(), timeline, settings_for(RATE, 256, 10.0, 2.0, 4))
    stream = VirtualStream(timeline, engine.play, engine.work, delay_s=DELAY_S)
    events = [Event(0.1 + 0.05 * c, 0x90 | c, 50 + c, 80) for c in range(9)]
    heard = stream.run(events, 1.0)
    assert np.abs(heard[:, 0] - expected(events, len(heard), DELAY_S)).max() < 4e-4


def test_a_chord_that_arrives_while_its_revision_begins_is_one_revision() -> None:
    engine, stream = build()
    for pitch in (60, 64, 67):
        engine.play(Event(0.05, 0x90, pitch, 90))
        engine.work()
    heard = stream.run([], 1.0)[:, 0]
    assert engine.counters.revisions <= 2
    chord = [Event(0.05 - DELAY_S, 0x90, pitch, 90) for pitch in (60, 64, 67)]
    assert np.abs(heard - expected(chord, len(heard), DELAY_S)).max() < 4e-4


def test_an_event_stops_a_slice() -> None:
    engine, _ = build()
    engine.play(Event(0.05, 0x90, 60, 90))
    while engine.urgent:
        engine.work()
    assert engine.work()  # a slice begins
    engine.play(Event(0.06, 0x90, 64, 90))
    slices = engine.counters.slices
    while engine.urgent:
        engine.work()
    assert engine.counters.revisions == 2
    assert engine.counters.slices == slices


def test_a_sequencer_s_events_are_rendered_together_and_in_time() -> None:
    """Knowing 200 ms ahead: one revision for all that comes meanwhile, none of it late, the same samples."""
    events = melody(4, 60, 0.03)
    eager, _ = build()
    timeline = Timeline()
    timeline.clear()
    settings = replace(settings_for(RATE, 256, 10.0, 2.0, 1), eager=False, lead_samples=RATE // 20)
    engine = Engine(SineInstrument(), timeline, settings)
    heard = VirtualStream(timeline, engine.play, engine.work, delay_s=0.2).run(events, 3.0)[:, 0]
    VirtualStream(eager.timeline, eager.play, eager.work, delay_s=0.2).run(events, 3.0)
    assert np.abs(heard - expected(events, len(heard), 0.2)).max() < 4e-4
    assert engine.counters.late_splices == 0
    assert engine.counters.revisions < 0.4 * eager.counters.revisions


class DraftingSine(SineInstrument):
    """Its drafts are softer than what they are drafts of, which takes many stages more."""

    SOFTER = 0.8

    def __init__(self, stages: int) -> None:
        super().__init__()
        self._stages = stages

    def stages(
        self, performances: Sequence[Performance], state: SineState, first_frame: int, frames: int, draft: bool = False
    ) -> Stages[SineState]:
        rendered, after = yield from super().stages(performances, state, first_frame, frames)
        if draft:
            yield rendered._replace(audio=self.SOFTER * rendered.audio), after
        for _ in range(self._stages + 3 * self.unprepared(state, frames)):
            yield None
        return rendered, after


class UnpreparedSine(DraftingSine):
    """Goes through 60 known frames before it finishes anything, unless that has been done before."""

    missing = 60

    def prepare(self, performances: Sequence[Performance], state: SineState, frames: int) -> Preparation[SineState] | None:
        return self._ten_more(state) if self.missing else None

    def _ten_more(self, state: SineState) -> Preparation[SineState]:
        for _ in range(4):
            yield
        self.missing -= 10
        return state

    def unprepared(self, state: SineState, frames: int) -> int:
        return self.missing


def drafting(stages: int, delay_s: float, pieces: int, kind: type[DraftingSine] = DraftingSine) -> tuple[Engine, VirtualStream]:
    timeline = Timeline()
    timeline.clear()
    engine = Engine(kind(stages), timeline, settings_for(RATE, 256, 3.0, 2.0, 1))
    return engine, VirtualStream(timeline, engine.play, engine.work, delay_s=delay_s, pieces_per_block=pieces)


def level(heard: np.ndarray, first_s: float, last_s: float) -> float:
    return float(np.abs(heard[round(first_s * RATE) : round(last_s * RATE)]).max())


def test_a_draft_is_heard_until_it_is_finished() -> None:
    """Finished 16 stages, 8 blocks or 43 ms, after a draft that was in time."""
    events = [Event(0.2, 0x90, 69, 127)]
    engine, stream = drafting(14, 0.02, pieces=2)
    heard = stream.run(events, 1.0)[:, 0]
    wanted = expected(events, len(heard), 0.02)
    assert engine.counters.late_splices == engine.counters.stale_fades == 0
    assert level(heard - DraftingSine.SOFTER * wanted, 0.22, 0.238) < 2e-4
    assert level(heard - wanted, 0.26, 1.0) < 2e-4
    assert np.abs(np.diff(heard)).max() < 1.2 * np.abs(np.diff(wanted)).max()


def test_what_is_finished_in_time_is_heard_instead_of_its_draft() -> None:
    events = melody(3, 12, 0.4)
    engine, stream = drafting(4, 0.05, pieces=2)
    heard = stream.run(events, 6.0)[:, 0]
    wanted = expected(events, len(heard), 0.05)
    assert engine.counters.late_splices == 0
    error = np.abs(heard - wanted)
    assert np.mean(error > 2e-4) < 0.03  # the crossfades before onsets pass through the draft
    assert error.max() < (1 - DraftingSine.SOFTER) * np.abs(wanted).max()


def test_an_event_that_cannot_wait_overtakes_a_draft() -> None:
    """Both notes are in time, and both are finished in the end."""
    events = [Event(0.2, 0x90, 69, 127), Event(0.22, 0x90, 76, 127)]
    engine, stream = drafting(14, 0.02, pieces=2)
    heard = stream.run(events, 1.0)[:, 0]
    wanted = expected(events, len(heard), 0.02)
    assert engine.counters.overtaken == 1
    assert (engine.counters.revisions, engine.counters.late_splices) == (2, 0)
    assert level(heard - DraftingSine.SOFTER * wanted, 0.22, 0.25) < 2e-4
    assert level(heard - wanted, 0.28, 1.0) < 2e-4


def test_a_slice_that_cannot_wait_begins_with_a_draft() -> None:
    """A revision is finished 80 ms after its draft; then less than that is left until the next slice must be there."""
    events = [Event(0.2, 0x90, 69, 127)]
    engine, stream = drafting(28, 0.03, pieces=2)
    heard = stream.run(events, 2.0)[:, 0]
    wanted = expected(events, len(heard), 0.03)
    assert engine.counters.stale_fades == 0
    assert engine.timeline.header.missing_samples == 0
    assert level(heard - wanted, 0.23, 0.7) > 2e-3  # a draft was heard
    assert level(heard - wanted, 0.7, 2.0) < 2e-4  # there was time
    assert np.abs(np.diff(heard)).max() < 1.2 * np.abs(np.diff(wanted)).max()


def test_a_draft_is_kept_while_a_window_must_be_prepared_first() -> None:
    """Finishing would take 480 ms; the pieces of the preparation 64."""
    events = [Event(0.2, 0x90, 69, 127)]
    engine, stream = drafting(4, 0.03, pieces=2, kind=UnpreparedSine)
    heard = stream.run(events, 1.5)[:, 0]
    wanted = expected(events, len(heard), 0.03)
    assert engine.counters.stale_fades == engine.counters.late_splices == 0
    assert engine.timeline.header.missing_samples == 0
    assert engine.counters.kept_drafts > 0
    assert level(heard - DraftingSine.SOFTER * wanted, 0.23, 0.36) < 2e-4
    assert level(heard - wanted, 0.8, 1.5) < 2e-4


def test_where_finishing_takes_long_a_revision_leaves_more_forecast() -> None:
    ends = []
    for finishing_s in (0.01, 0.06):
        engine, _ = drafting(4, 0.03, pieces=2)
        engine.timeline.set_clock(SampleClock(RATE).update(0, time.monotonic_ns()))
        engine._pace = Pace(finishing_s=finishing_s)  # as measured on a faster and on a slower machine
        engine.play(Event(0.05, 0x90, 69, 127))
        while engine.counters.revisions == 0:
            engine.work()
        ends.append(engine.timeline.valid_until)
    assert ends[1] - ends[0] == pytest.approx(4 * 0.02 * RATE)


def test_drafts_are_finished_however_fast_events_come() -> None:
    """After a few that were overtaken one is not: known frames must not fall behind."""
    events = [Event(0.2 + 0.01 * k, 0x90, 40 + k, 100) for k in range(50)]
    engine, stream = drafting(6, 0.03, pieces=2)
    heard = stream.run(events, 1.2)[:, 0]
    assert engine.counters.overtaken > 5
    assert engine.counters.stale_fades == 0
    assert engine.timeline.header.missing_samples == 0
    assert level(heard - expected(events, len(heard), 0.03), 0.85, 1.2) < 2e-4
