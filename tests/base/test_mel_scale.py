"""The mel scale is the same for floats, arrays, tensors and compiled loops."""

import math

import numpy as np
import pytest
import torch

from specdiffd.base import mel_scale_kernels
from specdiffd.base.mel_scale import hz_difference, hz_to_log, hz_to_mel, log_to_hz, mel_to_hz, transposed_mel

HERTZ = (0.0, 20.0, 440.0, 8000.0, 20000.0)


def test_it_is_the_scale_of_htk() -> None:
    assert [hz_to_mel(hz) for hz in HERTZ] == pytest.approx([2595 * math.log10(1 + hz / 700) for hz in HERTZ], rel=1e-4)


def test_it_inverts() -> None:
    hertz = np.array(HERTZ)
    assert mel_to_hz(hz_to_mel(hertz)) == pytest.approx(hertz)
    assert log_to_hz(hz_to_log(hertz)) == pytest.approx(hertz)


def test_all_kinds_of_numbers_have_one_scale() -> None:
    floats = np.array([hz_to_mel(hz) for hz in HERTZ])
    assert hz_to_mel(np.array(HERTZ)) == pytest.approx(floats)
    assert hz_to_mel(torch.tensor(HERTZ, dtype=torch.float64)).numpy() == pytest.approx(floats)
    loops = [mel_scale_kernels.hz_to_mel(np.float32(hz)) for hz in HERTZ]
    assert loops == pytest.approx(floats, rel=1e-5)


def test_transposed_mels_are_those_of_the_multiplied_frequency() -> None:
    for hz in HERTZ:
        expected = hz_to_mel(1.5 * hz)
        assert transposed_mel(hz_to_mel(hz), 1.5) == pytest.approx(expected)
        assert mel_scale_kernels.transposed_mel(np.float32(hz_to_mel(hz)), np.float32(1.5)) == pytest.approx(expected, rel=1e-4)


def test_differences_are_in_hertz() -> None:
    assert hz_difference(440.0, hz_to_log(500.0) - hz_to_log(440.0)) == pytest.approx(60.0)
