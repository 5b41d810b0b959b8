import numpy as np
import pytest

from specdiffd.base.clock import ClockState
from specdiffd.shared.sizes import CHANNELS
from specdiffd.shared.timeline import Timeline


@pytest.fixture
def timeline() -> Timeline:
    t = Timeline(capacity=1000)
    t.clear(100)
    return t


def ramp(first: int, samples: int) -> np.ndarray:
    return np.repeat(np.arange(first, first + samples, dtype=np.float32)[:, None], CHANNELS, 1)


def read(t: Timeline, samples: int) -> tuple[np.ndarray, int]:
    out = np.full((samples, CHANNELS), np.nan, np.float32)
    missing = t.advance(out)
    return out, missing


def test_what_is_written_is_read_at_its_place(timeline: Timeline) -> None:
    timeline.write(150, ramp(150, 300))
    timeline.publish(450, silent=False)
    first, missing = read(timeline, 64)
    assert missing == 0
    assert timeline.playhead == 164
    assert first[50:, 0].tolist() == list(range(150, 164))


def test_it_is_circular(timeline: Timeline) -> None:
    for at in range(100, 5000, 250):
        timeline.write(at, ramp(at, 250))
        timeline.publish(at + 250, silent=False)
        for k in range(10):
            out, missing = read(timeline, 25)
            assert missing == 0
            assert out[0, 0] == at + 25 * k


def test_silence_on_purpose_is_not_missing(timeline: Timeline) -> None:
    out, missing = read(timeline, 64)
    assert missing == 0
    assert not out.any()
    assert timeline.header.missing_samples == 0


def test_behind_the_forecast_there_are_zeros_and_they_are_counted(timeline: Timeline) -> None:
    timeline.write(100, ramp(100, 500))
    timeline.publish(140, silent=False)  # what lies behind is stale
    out, missing = read(timeline, 64)
    assert missing == 24
    assert not out[40:].any()
    assert timeline.header.missing_samples == 24
    _, missing = read(timeline, 64)
    assert missing == 64


def test_peek_and_read_do_not_move_the_playhead(timeline: Timeline) -> None:
    timeline.write(100, ramp(100, 100))
    timeline.publish(200, silent=False)
    out = np.zeros((10, CHANNELS), np.float32)
    timeline.peek(out, 10)
    assert out[3, 0] == 103
    assert timeline.read(195, 10)[:, 0].tolist() == [195, 196, 197, 198, 199, 0, 0, 0, 0, 0]
    assert timeline.playhead == 100


def test_the_clock_is_read_whole(timeline: Timeline) -> None:
    assert timeline.clock() is None
    timeline.set_clock(ClockState(480.0, 1e9, 48000.0))
    assert timeline.clock() == ClockState(480.0, 1e9, 48000.0)
    timeline.header.clock_version += 1  # the writer died in the middle
    assert timeline.clock() is None


def test_the_header_is_made_of_words() -> None:
    from specdiffd.shared.marks import Header

    assert all(getattr(Header, name).size == 8 == getattr(Header, name).offset % 8 + 8 for name in Header.__annotations__)


@pytest.mark.parametrize("silent", [True, False])
def test_a_discarded_forecast_is_not_heard(silent: bool) -> None:
    timeline = Timeline()
    timeline.clear(1000)
    timeline.write(1000, np.ones((500, CHANNELS), np.float32))
    timeline.publish(1500, silent)
    assert timeline.ahead == 500
    timeline.discard()
    assert timeline.ahead == 0
    out = np.empty((100, CHANNELS), np.float32)
    assert timeline.advance(out) == (0 if silent else 100)
    assert not out.any()
