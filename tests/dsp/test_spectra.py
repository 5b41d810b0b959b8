"""Spectra of several resolutions against NumPy's, and what the distance between them says."""

import numpy as np
import pytest
import torch

from specdiffd.dsp.spectra import spectral_loss, stft


def noise(samples: int, seed: int = 0, level: float = 0.1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, level, (1, samples)).astype(np.float32))


@pytest.mark.parametrize(("size", "samples"), [(128, 128), (128, 1000), (512, 513), (1024, 5000)])
def test_a_spectrum_is_that_of_numpy(size: int, samples: int) -> None:
    audio = noise(samples)
    found = stft(audio, size)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    starts = range(0, samples - size + 1, size // 4)
    expected = np.stack([np.fft.rfft(audio[0, s : s + size].numpy() * hann) for s in starts])
    assert found.shape == (1, len(starts), size // 2 + 1)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-4)


def test_equal_signals_have_no_distance() -> None:
    audio = noise(9000)
    assert float(spectral_loss(audio, audio)) == 0.0


def test_the_distance_grows_with_the_difference_of_level() -> None:
    audio = noise(9000)
    distances = [float(spectral_loss(audio * 10 ** (db / 20), audio)) for db in (0.5, 1, 3, 6, 12)]
    assert distances == sorted(distances)
    # 6 dB are 0.69 nepers in every bin, and the difference has half the norm of what is compared: 0.69 + 0.5 * 1.0
    assert distances[3] == pytest.approx(np.log(10) * 6 / 20 + 0.5 * (10 ** (6 / 20) - 1), rel=0.02)


def test_the_distance_is_the_mean_over_a_batch() -> None:
    a, b, target = noise(9000, 1), noise(9000, 2), noise(9000, 3)
    together = spectral_loss(torch.cat((a, b)), torch.cat((target, target)))
    apart = (spectral_loss(a, target) + spectral_loss(b, target)) / 2
    assert float(together) == pytest.approx(float(apart), rel=1e-5)


def test_silence_is_compared_without_an_infinity() -> None:
    silence = torch.zeros(1, 9000)
    assert float(spectral_loss(silence, silence)) == 0.0
    assert np.isfinite(float(spectral_loss(noise(9000), silence)))


def test_the_distance_has_gradients_where_the_prediction_is_silent() -> None:
    predicted = torch.zeros(1, 9000, requires_grad=True)
    spectral_loss(predicted + 1e-6 * noise(9000), noise(9000, 2)).backward()
    assert predicted.grad is not None
    assert bool(predicted.grad.isfinite().all())
