import numpy as np
import pytest

from specdiffd.base.clock import SampleClock


def run(rate_hz: float, jitter_s: float, blocks: int = 4000, block: int = 256) -> np.ndarray:
    """Error in samples of the filtered clock, once it has settled, against the true one."""
    rng = np.random.default_rng(0)
    clock, errors = SampleClock(48000), []
    for k in range(blocks):
        true_s = k * block / rate_hz
        late_s = rng.exponential(jitter_s)
        state = clock.update(k * block, int((true_s + late_s) * 1e9))
        if k > blocks // 2:
            errors.append(state.sample_at(int((true_s + jitter_s + 0.002) * 1e9)) - (true_s + 0.002) * rate_hz)
    return np.array(errors)


@pytest.mark.parametrize("block", [256, 8192])  # 8192: between two looks of a callback that rests
def test_jitter_is_filtered(block: int) -> None:
    errors = run(48000.0, 0.001, block=block)
    assert np.abs(errors).max() < 0.0006 * 48000  # callbacks are late by up to 8 ms, the clock by half of one
    assert errors.std() < 0.0002 * 48000


def test_a_card_that_is_off_its_name_is_followed() -> None:
    assert np.abs(run(48012.0, 0.0001)).max() < 10


def test_a_jump_starts_anew() -> None:
    clock = SampleClock(48000)
    clock.update(0, 0)
    clock.update(256, 5_333_333)
    assert clock.update(512, 9_000_000_000).sample_at(9_000_000_000) == 512
