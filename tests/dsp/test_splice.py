import numpy as np

from specdiffd.dsp.splice import crossfade, fade_out, ramp


def test_a_crossfade_between_equal_signals_changes_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(480, 2)).astype(np.float32)
    assert np.abs(crossfade(x, x) - x).max() < 1e-6


def test_ramps_of_both_directions_add_to_one() -> None:
    up = ramp(48)
    assert up.shape == (48, 1)
    assert np.allclose(up + up[::-1], 1)
    assert (np.diff(up[:, 0]) > 0).all()


def test_fade_out_ends_near_zero_and_leaves_the_rest() -> None:
    x = np.ones((100, 2), np.float32)
    faded = fade_out(x, 40)
    assert (faded[:60] == 1).all()
    assert faded[-1].max() < 0.01
    assert fade_out(x, 1000).shape == x.shape
    assert (x == 1).all()
