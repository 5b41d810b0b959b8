import pytest
import torch
from test_prior import features, played

from specdiffd.prior import texture


def test_texture_is_alike_in_close_frames_and_bins() -> None:
    x = texture.noise(40)
    assert float(x.var()) == pytest.approx(1, abs=0.05)
    frames = [float((x * x.roll(lag, 0)).mean()) for lag in (1, 2, 8)]  # its end goes on at its beginning
    bins = [float((x[:, :-lag] * x[:, lag:]).mean()) for lag in (1, 2)]
    assert frames == pytest.approx([texture.NEXT_FRAME, 0.415, -0.09], abs=0.04)
    assert bins == pytest.approx([0.54, 0.25], abs=0.06)
    assert float((x[0] * x[-1]).mean()) > 0.3
    seconds = x.unfold(0, 50, 50).mean(-1)  # of 50 frames that were independent: 0.02
    assert float(seconds.var()) < 0.02


def test_a_note_has_the_same_texture_each_time() -> None:
    once, again = (texture.rows(features(played((at_s, 0x90, 60, velocity))), 0.02)[0] for at_s, velocity in ((0.1, 100), (0.3, 50)))
    assert torch.equal(once[:-10], again[10:])
    other = texture.rows(features(played((0.1, 0x90, 61, 100))), 0.02)[0]
    apart = (other - once).abs()
    assert int(torch.minimum(apart, texture.FRAMES - apart).min()) > 2 * texture.REACH
