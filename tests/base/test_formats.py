"""The mel format: its range, and its frame arithmetic."""

import math

import numpy as np
import pytest
import torch

from specdiffd.base.formats import FORMATS, MelFormat, first_frame_at
from specdiffd.instruments.sine import SineInstrument

PUBLISHED = MelFormat()


def test_model_range() -> None:
    x = torch.tensor([math.log(1e-5), 4.0, 6.0])
    assert PUBLISHED.scale(x) == pytest.approx([-1, 1, 1], abs=1e-6)
    assert PUBLISHED.unscale(PUBLISHED.scale_unclipped(x)) == pytest.approx(x, abs=1e-5)


@pytest.mark.parametrize(("time_s", "frame"), [(0.0, -1), (0.0001, -1), (0.02, 0), (0.04, 1), (0.0399, 0), (1.0, 49)])
def test_first_frame_of(time_s: float, frame: int) -> None:
    """The first frame whose last sample comes after the moment."""
    assert PUBLISHED.first_frame_of(time_s) == frame
    end_s = (frame * 320 + 640) / 16000
    assert end_s > time_s
    assert end_s - 0.02 <= time_s + 1e-6


def test_formats_and_instruments_are_frame_grids() -> None:
    samples = (0.0, 1.0, 320.0, 639.5, 640.0, 12345.6)
    assert [first_frame_at(s, SineInstrument()) for s in samples] == [first_frame_at(s, PUBLISHED) for s in samples]


def test_starts_are_those_of_the_frames() -> None:
    fmt = FORMATS["full-band"]
    assert fmt.starts_s(-2, 5) == pytest.approx(np.array([-0.04, -0.02, 0.0, 0.02, 0.04]))
    assert len(fmt.starts_s(0, 0)) == 0
