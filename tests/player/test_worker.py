"""The engine process: as its supervisor sees it, and its loop on a clock of the test's."""

import multiprocessing
import pickle
import time
import zlib
from typing import Any

import numpy as np
import pytest

from specdiffd.base.clock import ClockState
from specdiffd.base.config import Config, EngineConfig
from specdiffd.instruments.sine import SineInstrument
from specdiffd.io.output import Player
from specdiffd.midi.score import Score
from specdiffd.player.intake import NOTES_AT_ONCE, NOTES_PER_S
from specdiffd.player.snapshot import take_snapshot
from specdiffd.player.startup import start_playing
from specdiffd.player.worker import Worker, run_engine
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.messages import Alive, EngineReady, Go, Loaded, News, Report, Stop, Working, decode_news, send

RATE, BLOCK = 48000, 256
DELAY_S = 0.05


def test_an_engine_that_loads_says_what_it_does_and_waits_alive() -> None:
    """So that one that takes long is told from one that is stuck."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    bell = spawn.Pipe(duplex=False)
    process = spawn.Process(target=run_engine, args=(SharedBlock(), Config(), False, theirs, [bell[0]], True))
    process.start()
    said: list[News] = []
    while not said or isinstance(said[-1], Working):
        assert ours.poll(60), said
        said.append(decode_news(ours.recv_bytes()))
    assert said[-1] == Loaded()
    assert ours.poll(10)
    assert decode_news(ours.recv_bytes()) == Alive()
    send(ours, Stop())
    process.join(20)
    graphs = [news.what for news in said if isinstance(news, Working) and news.what.startswith("making graph")]
    assert graphs[0].endswith(f"1 of {len(graphs)}")
    assert process.exitcode == 0


class Playing:
    """A worker with sines, and an output stream whose time is the samples that it has played."""

    def __init__(self, go: Go | None = None, shared: SharedBlock | None = None) -> None:
        self.shared = shared or SharedBlock()
        self.timeline, self.header = self.shared.timeline, self.shared.timeline.header
        ours, theirs = multiprocessing.Pipe()
        bells = [multiprocessing.Pipe(duplex=False) for _ in range(2)]
        self.kept = ours, bells
        config = Config(engine=EngineConfig(render_delay_ms=1000 * DELAY_S))
        playing = start_playing(self.shared, config, SineInstrument(), go or Go(RATE, DELAY_S))
        self.worker = Worker(*playing, theirs, [bell[0] for bell in bells])
        self.player = Player(self.shared, Config().audio, RATE)
        self.there = True

    @property
    def now_ns(self) -> int:
        return round(1e9 * self.timeline.playhead / RATE)

    def put(self, *message: int, ring: str = "live_events") -> bool:
        return getattr(self.shared, ring).put(self.now_ns, *message)

    def turn(self) -> None:
        """What the worker's loop does once, without waiting."""
        self.timeline.set_clock(ClockState(float(self.timeline.playhead), float(self.now_ns), RATE if self.there else 0.0))
        self.worker.take_events()
        while self.worker.work():
            pass

    def play(self, blocks: int) -> np.ndarray:
        out = []
        for _ in range(blocks):
            self.turn()
            block = self.player.fill(BLOCK)
            out.append(np.zeros(BLOCK) if block is None else block[:, 0].copy())
        return np.concatenate(out)

    def panic(self) -> None:
        self.header.panic_ns = self.now_ns
        self.header.panics += 1

    @property
    def sounding(self) -> list[int]:
        now_s = self.timeline.playhead / RATE + DELAY_S
        return sorted(n.pitch for score in self.worker.engine.scores for n in score.sounding(now_s))


@pytest.fixture
def playing() -> Playing:
    return Playing()


def test_a_panic_is_silence_within_a_block_and_what_comes_after_it_is_played(playing: Playing) -> None:
    playing.put(0xB0, 64, 127)
    for key in (60, 64, 67):
        playing.put(0x90, key, 100)
    before = playing.play(60)
    assert np.abs(before[-BLOCK:]).max() > 0.05
    playing.put(0x90, 72, 100)  # waits when the panic comes
    playing.panic()
    muted = playing.play(2)
    assert np.abs(np.diff(muted)).max() < 0.05  # faded, not cut
    assert np.abs(muted[BLOCK:]).max() == 0
    assert not playing.timeline.panicking
    playing.play(3)
    assert playing.sounding == []
    playing.put(0x90, 69, 100)
    after = playing.play(60)
    assert playing.sounding == [69]
    assert np.abs(after[-BLOCK:]).max() > 0.05
    assert not playing.worker.engine.scores[0].performance.controllers[0].pedal.last


def test_a_panic_is_silence_at_once_though_the_engine_does_nothing(playing: Playing) -> None:
    playing.put(0x90, 60, 100)
    playing.play(60)
    playing.panic()
    blocks = [playing.player.fill(BLOCK) for _ in range(10)]
    assert all(block is not None and np.abs(block).max() == 0 for block in blocks[1:])
    playing.put(0x90, 69, 100)  # after it
    after = playing.play(60)
    assert playing.sounding == [69]
    assert np.abs(after[-BLOCK:]).max() > 0.05


def test_a_panic_in_silence_is_over_at_once(playing: Playing) -> None:
    playing.play(4)
    playing.panic()
    playing.turn()
    assert not playing.timeline.panicking


def test_without_a_stream_events_become_state(playing: Playing) -> None:
    """What begins and ends while nobody hears is never heard; what is held sounds when the stream is back, as it was set meanwhile."""
    playing.put(0x90, 60, 100)
    playing.play(40)
    playing.there = False
    for k in range(3000):
        playing.put(0x91, k % 100, 100)
        playing.put(0x81, k % 100)
        playing.put(0xC2, k % 128)
        playing.put(0xB2, 7, k % 128)
        playing.turn()
    playing.put(0x80, 60)
    playing.put(0x92, 64, 100)
    playing.turn()
    playing.there = True
    heard = playing.play(60)
    assert playing.sounding == [64]
    score = playing.worker.engine.scores[0]
    assert [n.pitch for n in score.performance.notes] == [60, 64]
    assert score.program(2) == 2999 % 128
    tone = 440 * 2 ** ((64 - 69) / 12)
    spectrum = np.abs(np.fft.rfft(heard[20 * BLOCK :] * np.hanning(len(heard) - 20 * BLOCK)))
    assert abs(np.argmax(spectrum) * RATE / (len(heard) - 20 * BLOCK) - tone) < 6


def test_a_flood_of_notes_is_played_as_far_as_it_can_be(playing: Playing) -> None:
    for k in range(500):
        playing.put(0x90 | k % 5, k % 120, 100)
    playing.turn()
    assert playing.worker.engine.counters.events == NOTES_AT_ONCE
    assert playing.worker.intake.skipped_notes == 500 - NOTES_AT_ONCE
    playing.play(round(0.1 * RATE / BLOCK))
    for k in range(500):
        playing.put(0x95, k % 120, 100)
    playing.turn()
    assert 0.09 * NOTES_PER_S < playing.worker.engine.counters.events - NOTES_AT_ONCE < 0.11 * NOTES_PER_S
    for k in range(6 * 120):
        playing.put(0x80 | k % 6, k // 6)
    playing.play(4)
    assert playing.sounding == []


def test_events_of_one_moment_keep_their_order(playing: Playing) -> None:
    for message in ((0xB0, 64, 127), (0x90, 60, 100), (0x80, 60, 0), (0xB0, 64, 0), (0xB0, 64, 127), (0x90, 62, 100), (0x80, 62, 0)):
        playing.put(*message)
    playing.play(20)
    assert playing.sounding == [62]


def test_an_event_that_the_score_stumbles_over_is_left_out(playing: Playing, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Score.apply

    def apply(self: Score, event: Any) -> bool:
        if event.data1 == 13:
            raise RuntimeError("a bug")
        return real(self, event)

    monkeypatch.setattr(Score, "apply", apply)
    for key in (60, 13, 64):
        playing.put(0x90, key, 100)
    playing.play(20)
    assert playing.sounding == [60, 64]
    assert playing.worker.reporter.status().counters["failed_events"] == 1


def test_in_silence_controllers_are_forgotten(playing: Playing) -> None:
    for k in range(2000):
        playing.put(0xB0, 1, k % 128)
        playing.put(0xE1, k % 128, k % 128)
        playing.play(2)
        if k % 100 == 0:
            playing.worker.keep_house(time.monotonic() + k)
    playing.worker.engine.forget()
    snapshot = pickle.dumps(playing.worker.engine.scores)
    assert len(snapshot) < 12_000
    assert sum(len(curve.times_s) for c in playing.worker.engine.scores[0].performance.controllers.values() for curve in c.curves) < 300


def taken_over(playing: Playing, **changes: Any) -> Playing:
    """Another worker that goes on from what this one knew before its last events."""
    return Playing(Go(RATE, DELAY_S, **changes), playing.shared)


def snapshot(playing: Playing) -> bytes:
    return zlib.compress(take_snapshot(playing.worker.engine, playing.worker.intake.rings))


def test_a_successor_takes_again_what_was_played_since_unless_it_is_told_not_to(playing: Playing) -> None:
    playing.put(0x90, 60, 100)
    playing.play(40)
    kept = snapshot(playing)
    playing.put(0x90, 64, 100)
    playing.play(4)
    for skip, expected in ((False, [60, 64]), (True, [60])):
        successor = taken_over(playing, snapshot=kept, skip_events=skip)
        successor.play(20)
        assert successor.sounding == expected


def test_a_successor_at_another_rate_has_the_same_notes(playing: Playing) -> None:
    """The stream's time is its samples by its rate: it jumps, and what sounds jumps with it."""
    playing.put(0x90, 60, 100)
    playing.play(40)
    playhead = playing.timeline.playhead
    successor = taken_over(playing, snapshot=snapshot(playing), moved_s=playhead / 44100 - playhead / RATE)
    (note,) = successor.worker.engine.scores[0].performance.notes
    before = playing.worker.engine.scores[0].performance.notes[0]
    assert playhead / 44100 - note.onset_s == pytest.approx(playhead / RATE - before.onset_s)


def test_reports_are_not_waited_for(playing: Playing) -> None:
    """A supervisor that stands still reads nothing; more than a pipe holds is reported meanwhile."""
    for k in range(200):
        playing.put(0x90, k % 128, 100)
        playing.worker.take_events()
        started_s = time.monotonic()
        playing.worker.reporter.report(now_s=1e9 + 10 * k)
        assert time.monotonic() - started_s < 0.5


def test_one_that_is_told_to_go_says_that_it_plays_and_what_it_does() -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    bells = [spawn.Pipe(duplex=False) for _ in range(2)]
    process = spawn.Process(target=run_engine, args=(SharedBlock(), Config(), True, theirs, [bell[0] for bell in bells], False))
    process.start()
    said: list[News] = []
    send(ours, Go(RATE, DELAY_S))
    while not said or not isinstance(said[-1], Report):
        assert ours.poll(60), said
        said.append(decode_news(ours.recv_bytes()))
    assert [type(news) for news in said] == [Loaded, EngineReady, Report]
    assert said[-1].render_delay_ms == 1000 * DELAY_S
    assert said[-1].snapshot
    send(ours, Stop())
    process.join(20)
    assert process.exitcode == 0
