"""The limiter keeps every sample under its ceiling, and leaves alone what is under it already."""

import numpy as np
import pytest

from specdiffd.dsp.limiter import CEILING, RAMP_S, RELEASE_PER_S, Fader, Limiter, peak

RATE = 16000
RAMP = round(RAMP_S * RATE)


def loud_music(samples: int, seed: int = 0) -> np.ndarray:
    """Noise, quiet for most of the time, with bursts and single clicks of up to five times full scale: (samples, 2)."""
    rng = np.random.default_rng(seed)
    audio = rng.uniform(-0.4, 0.4, (samples, 2))
    for first in rng.integers(0, samples - 700, 12):
        audio[first : first + int(rng.integers(1, 700))] *= rng.uniform(2, 12)
    return audio.astype(np.float32)


def limited(audio: np.ndarray, block: int) -> np.ndarray:
    """``audio`` through a limiter, ``block`` samples at a time."""
    limiter, out = Limiter(RATE), audio.copy()
    for first in range(0, len(out), block):
        limiter.apply(out[first : first + block], audio[first + block : first + block + limiter.ahead_samples])
    return out


@pytest.mark.parametrize("block", [1, 7, RAMP - 1, RAMP, RAMP + 1, 256, 1000])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_sample_exceeds_the_ceiling_whatever_the_block_size(block: int, seed: int) -> None:
    audio = loud_music(8000, seed)
    assert peak(audio) > 2
    assert peak(limited(audio, block)) <= CEILING + 1e-6


@pytest.mark.parametrize("block", [64, 333])
def test_the_gain_moves_evenly(block: int) -> None:
    """A gain that jumps is heard as a click. From full to a fifth of it takes a ramp, so a sample's step is bounded."""
    audio = np.full((4000, 1), 0.2, np.float32)
    audio[2000:2100] = 4.9
    gains = (limited(audio, block) / audio)[:, 0]
    falls = -np.diff(gains[:2000])
    assert falls.max() < 2 / RAMP
    assert gains[1999] == pytest.approx(CEILING / 4.9, rel=0.02)  # it is there when the peak comes


def test_the_gain_comes_back_as_slowly_as_it_says() -> None:
    audio = np.full((RATE, 1), 0.1, np.float32)
    audio[:100] = 1.96
    gains = (limited(audio, 256) / audio)[:, 0]
    rises = np.diff(gains[1000:])
    assert rises.max() <= RELEASE_PER_S / RATE * 1.01
    assert gains[-1] == pytest.approx(1.0, abs=1e-6)


def test_what_is_under_the_ceiling_is_not_touched() -> None:
    limiter, block = Limiter(RATE), np.full((300, 2), CEILING - 0.001, np.float32)
    before = block.copy()
    assert not limiter.apply(block, before)
    np.testing.assert_array_equal(block, before)


@pytest.mark.parametrize(("distance", "turned"), [(RAMP - 1, True), (RAMP, False)])
def test_it_looks_a_ramp_ahead(distance: int, turned: bool) -> None:
    limiter, block = Limiter(RATE), np.full((RAMP, 1), 0.5, np.float32)
    ahead = np.full((limiter.ahead_samples, 1), 0.5, np.float32)
    ahead[distance:] = 8.0
    assert limiter.apply(block, ahead) == turned
    assert (peak(block) < 0.5) == turned


@pytest.mark.parametrize("block", [1, 3, 100, 4000])
def test_a_fade_takes_the_same_time_in_blocks_of_any_size(block: int) -> None:
    fader, audio = Fader(RATE, 0.0), np.ones((4000, 1), np.float32)
    for first in range(0, len(audio), block):
        fader.apply(audio[first : first + block], 0.5)
    expected = np.minimum(np.arange(1, 4001) / RAMP, 0.5)
    np.testing.assert_allclose(audio[:, 0], expected, atol=1e-4)
    assert fader.gain == 0.5


def test_a_fade_that_turns_round_goes_on_from_where_it_is() -> None:
    fader, block = Fader(RATE, 1.0), np.ones((RAMP // 4, 1), np.float32)
    fader.apply(block, 0.0)
    half_way = fader.gain
    assert half_way == pytest.approx(1 - (RAMP // 4) / RAMP)
    block[:] = 1
    fader.apply(block, 1.0)
    assert block[0, 0] == pytest.approx(half_way + 1 / RAMP)
    assert (np.diff(block[:, 0]) >= 0).all()


def test_full_gain_leaves_the_samples_as_they_are() -> None:
    block = np.array([[0.1], [np.float32(1) / 3]], np.float32)
    before = block.copy()
    Fader(RATE, 1.0).apply(block, 1.0)
    np.testing.assert_array_equal(block, before)


def test_the_peak_of_nothing_is_zero() -> None:
    assert peak(np.zeros((0, 2), np.float32)) == 0.0
    assert peak(np.array([[0.5, -0.7]], np.float32)) == pytest.approx(0.7)
