"""The compiled callback: in rest it does what the player does, and nothing else ever."""

import ctypes

import numpy as np
import pytest

from specdiffd.base.config import AudioConfig
from specdiffd.io.output import RESTING_S, Player
from specdiffd.io.resting import CALLBACK, resting_callback
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.sizes import PLAYED_SAMPLES

BLOCK, CHANNELS = 300, 3
RESTING_TICKS = round(RESTING_S * 48000 / BLOCK)


class Stream:
    """Calls the compiled callback as PortAudio does; blocks that it hands on go to a player."""

    def __init__(self) -> None:
        self.shared = SharedBlock()
        self.player = Player(self.shared, AudioConfig(), 48000)
        self.handed_on = 0
        self._sounding = CALLBACK(self._play)
        address = ctypes.cast(self._sounding, ctypes.c_void_p).value
        assert address is not None
        self._compiled = resting_callback(self.shared, CHANNELS, address)
        self._call = CALLBACK(self._compiled.address)
        self._out = np.ones((BLOCK, CHANNELS), np.float32)

    def _play(self, _input: int, output: int, frames: int, _time: int, _status: int, _user: int) -> int:
        self.handed_on += 1
        bus = self.player.fill(frames)
        self._out[:] = 0 if bus is None else bus[:, :1]
        return 0

    def block(self, status: int = 0) -> np.ndarray:
        self._out[:] = 1
        assert self._call(None, self._out.ctypes.data, BLOCK, None, status, self.shared.words.ctypes.data) == 0
        return self._out.copy()

    def sound(self, level: float = 0.25) -> None:
        at = self.shared.timeline.playhead
        self.shared.timeline.write(at, np.full((2 * BLOCK, 2), level, np.float32))
        self.shared.timeline.publish(at + 2 * BLOCK, silent=True)


@pytest.fixture(scope="module")
def compiled() -> Stream:
    return Stream()


@pytest.fixture
def stream(compiled: Stream) -> Stream:
    compiled.shared.timeline.clear()
    compiled.player = Player(compiled.shared, AudioConfig(), 48000)
    compiled.handed_on = 0
    return compiled


def test_most_blocks_of_rest_never_get_to_python(stream: Stream) -> None:
    for _ in range(10 * RESTING_TICKS):
        assert not stream.block().any()
    assert stream.handed_on == 10
    assert stream.shared.timeline.playhead == 10 * RESTING_TICKS * BLOCK


def test_rest_leaves_the_shared_memory_as_the_player_does(stream: Stream) -> None:
    other = SharedBlock()
    player = Player(other, AudioConfig(), 48000)
    stream.shared.played.add(np.ones((PLAYED_SAMPLES, 2), np.float32))  # what was played before is overwritten, ...
    other.played.add(np.ones((PLAYED_SAMPLES, 2), np.float32))
    start = stream.shared.played.count
    for _ in range(PLAYED_SAMPLES // BLOCK - 5):  # ... but for what is left of it here
        stream.block()
        player.fill(BLOCK)
    assert stream.shared.timeline.playhead == other.timeline.playhead
    assert stream.shared.timeline.header.resting_blocks == other.timeline.header.resting_blocks
    assert stream.shared.played.count - start == other.played.count - PLAYED_SAMPLES
    assert not stream.shared.played.since(start)[0].any()
    assert stream.shared.timeline.header.missing_samples == 0
    assert stream.shared.timeline.clock() is not None


def test_a_forecast_is_played_at_once(stream: Stream) -> None:
    for _ in range(3):
        stream.block()
    stream.sound()
    assert np.allclose(stream.block()[1:, :], 0.25, atol=1e-6)
    assert np.allclose(stream.block(), 0.25, atol=1e-6)
    assert not stream.block().any()
    assert np.count_nonzero(stream.shared.played.since(stream.shared.played.count - 4 * BLOCK)[0][:, 0]) == 2 * BLOCK


def test_a_forecast_that_ends_without_silence_is_missing(stream: Stream) -> None:
    stream.block()
    timeline = stream.shared.timeline
    timeline.publish(timeline.playhead, silent=False)
    stream.block()
    assert timeline.header.missing_samples == BLOCK


def test_a_new_player_looks_at_once(stream: Stream) -> None:
    """After the death of the process that had the last one, say: the clock starts with its first block."""
    stream.block()
    stream.shared.timeline.stop_clock()
    stream.player = Player(stream.shared, AudioConfig(), 48000)
    stream.block()
    assert stream.shared.timeline.clock() is not None


def test_a_block_with_a_status_is_handed_on(stream: Stream) -> None:
    stream.block()
    stream.block(status=4)  # an output underflow: to be counted
    assert stream.handed_on == 2
