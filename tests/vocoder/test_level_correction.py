"""The correction of levels against the plain formula: a gain for each mel bin, spread over the transform's bins, within limits."""

import numpy as np
import pytest
import torch

from specdiffd.base.formats import MelFormat
from specdiffd.dsp.mel import mel_filters
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.levels import CORRECTED_FROM_HZ, LIMIT_NEPERS, LevelCorrection
from specdiffd.vocoder.levels_kernels import correct_levels

CONFIG, FORMAT = VocoderConfig(), MelFormat()  # the published format
BINS = CONFIG.mel_fft_size // 2 + 1
BIN_HZ = np.arange(BINS) * CONFIG.sample_rate_hz / CONFIG.mel_fft_size


@pytest.fixture(scope="module")
def correction() -> LevelCorrection:
    return LevelCorrection(CONFIG)


def spectra_of(seed: int, frames: int = 4) -> np.ndarray:
    """Short-time spectra (1, T, bins) of noise whose level falls with frequency."""
    rng = np.random.default_rng(seed)
    return ((rng.normal(size=(1, frames, BINS)) + 1j * rng.normal(size=(1, frames, BINS))) * np.exp(-BIN_HZ / 2000)).astype(np.complex64)


def mel_of(spectra: np.ndarray) -> np.ndarray:
    magnitude = np.abs(spectra) @ mel_filters(FORMAT).numpy()
    return np.log(np.maximum(magnitude, np.exp(CONFIG.log_floor))).astype(np.float32)


def corrected(correction: LevelCorrection, spectra: np.ndarray, log_mel: np.ndarray) -> np.ndarray:
    return correction.corrected_by_loops(torch.from_numpy(spectra.copy()), torch.from_numpy(log_mel)).numpy()


@pytest.mark.parametrize("seed", [0, 1])
def test_loops_compute_the_plain_formula(correction: LevelCorrection, seed: int) -> None:
    spectra, wanted = spectra_of(seed), mel_of(spectra_of(seed + 10)) + 0.5
    filters = mel_filters(FORMAT).numpy().astype(np.float64)
    gain = np.clip(wanted - mel_of(spectra), -LIMIT_NEPERS, LIMIT_NEPERS)
    height = filters.sum(1)
    spread = (gain @ filters.T) / np.maximum(height, 1e-9) * (BIN_HZ >= CORRECTED_FROM_HZ)
    audible = 1 - np.exp(CONFIG.log_floor - wanted.max(-1, keepdims=True))
    expected = spectra * np.exp(spread) * audible
    found = corrected(correction, spectra, wanted)
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_levels_that_are_right_stay(correction: LevelCorrection) -> None:
    spectra = spectra_of(3)
    np.testing.assert_allclose(corrected(correction, spectra, mel_of(spectra)), spectra, rtol=2e-3, atol=1e-3)


def test_a_level_that_is_wrong_everywhere_by_as_much_becomes_right(correction: LevelCorrection) -> None:
    spectra = spectra_of(4)
    found = corrected(correction, spectra, mel_of(2 * spectra))
    gains = np.abs(found / spectra)[..., 1:-1]  # no triangle reaches the first and the last bin
    above = BIN_HZ[1:-1] >= CORRECTED_FROM_HZ
    np.testing.assert_allclose(gains[..., above], 2, rtol=2e-3)
    np.testing.assert_allclose(gains[..., ~above], 1, rtol=1e-3)


@pytest.mark.parametrize("nepers", [-9.0, 9.0])
def test_a_correction_has_a_limit(correction: LevelCorrection, nepers: float) -> None:
    spectra = spectra_of(5)
    found = corrected(correction, spectra, mel_of(spectra) + np.float32(nepers))
    gains = np.log(np.abs(found / spectra))[..., 1:-1]
    assert np.abs(gains).max() < LIMIT_NEPERS + 0.1
    assert np.abs(gains[..., BIN_HZ[1:-1] >= CORRECTED_FROM_HZ]).min() > LIMIT_NEPERS - 0.1


def test_where_the_mel_is_silent_all_is(correction: LevelCorrection) -> None:
    spectra = spectra_of(6)
    silence = np.full((1, 4, CONFIG.mel_bins), CONFIG.log_floor, np.float32)
    assert not corrected(correction, spectra, silence).any()


def test_phases_are_not_touched(correction: LevelCorrection) -> None:
    spectra = spectra_of(7)
    found = corrected(correction, spectra, mel_of(spectra_of(8)) + 1)
    np.testing.assert_allclose(np.angle(found / spectra)[..., 1:-1], 0, atol=1e-3)


def test_every_bin_lies_in_two_triangles_at_most(correction: LevelCorrection) -> None:
    constants, filters = correction._constants, correction.filters.numpy()
    rebuilt = np.zeros((BINS, CONFIG.mel_bins + 2), np.float32)
    rows = np.arange(BINS)
    rebuilt[rows, constants.lower_mel_bin] += constants.lower_height
    rebuilt[rows, constants.lower_mel_bin + 1] += constants.upper_height
    np.testing.assert_array_equal(rebuilt[:, 1:-1], filters)


def test_silence_has_a_finite_gain(correction: LevelCorrection) -> None:
    spectra = np.zeros((1, 2, BINS, 2), np.float32)
    correct_levels(correction._constants, spectra, np.zeros((1, 2, CONFIG.mel_bins), np.float32))
    assert not spectra.any()
