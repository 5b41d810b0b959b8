"""Losses are zero for equal audio, and larger for worse audio."""

import math

import pytest
import torch
from torch import Tensor

from specdiffd.base.formats import FORMATS
from specdiffd.dsp.spectra import spectral_loss
from specdiffd.train.losses import Discriminators, adversarial_loss, discriminator_loss, frequency_loss, power_loss

RATE = 16000


def sine(hz: float, seconds: float = 1.0, level: float = 0.3) -> Tensor:
    return level * torch.sin(2 * math.pi * hz * torch.arange(int(seconds * RATE)) / RATE)[None]


def test_equal_audio_costs_nothing() -> None:
    assert float(spectral_loss(sine(440), sine(440))) == 0


def test_phase_costs_less_than_pitch() -> None:
    shifted = sine(440).roll(7, -1)
    assert float(spectral_loss(shifted, sine(440))) < 0.2 * float(spectral_loss(sine(466), sine(440)))


def test_a_comb_of_tones_is_no_noise() -> None:
    """Steady oscillators in every band imitate noise in windows of 40 ms; the long resolutions tell them apart."""
    generator = torch.Generator().manual_seed(0)
    noise, other = (0.1 * torch.randn(1, RATE, generator=generator) for _ in range(2))
    phases = torch.rand(128, generator=generator) * 2 * math.pi
    hz = torch.linspace(40, 7900, 128)
    comb = torch.sin(2 * math.pi * hz[:, None] * torch.arange(RATE) / RATE + phases[:, None]).sum(0)[None]
    comb = comb * float(noise.std() / comb.std())
    assert float(spectral_loss(comb, noise)) > 1.3 * float(spectral_loss(other, noise))


def test_the_power_loss_is_least_for_noise_of_equal_power() -> None:
    """By magnitudes, the best gain from one noise to another is too small. By the power of patches it is 1."""
    generator = torch.Generator().manual_seed(0)
    fmt = FORMATS["full-band"]
    noise, other = (0.1 * torch.randn(1, 2 * fmt.sample_rate_hz, generator=generator) for _ in range(2))
    distances = {gain: float(power_loss(gain * noise, other, fmt)) for gain in (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4)}
    assert min(distances, key=distances.__getitem__) == 1.0
    assert distances[1.0] < 0.1
    assert distances[0.7] == pytest.approx(-math.log(0.7), abs=0.05)


def test_the_power_loss_is_least_for_noise_with_the_power_of_a_tone() -> None:
    """The loss of noise in place of a tone depends on its power, not on its mean magnitude."""
    fmt, n = FORMATS["full-band"], torch.arange(2 * 48000)
    tone = 0.1 * torch.sin(2 * math.pi * 10000 * n / 48000)[None]
    spectrum = torch.fft.rfft(torch.randn(1, len(n), generator=torch.Generator().manual_seed(0)))
    hertz = torch.arange(spectrum.shape[1]) / 2
    band = torch.fft.irfft(torch.where((hertz - 10000).abs() < 150, spectrum, 0.0))
    band = band * (tone.std() / band.std())
    distances = {gain: float(power_loss(gain * band, tone, fmt)) for gain in (0.5, 1.0, 2.0)}
    assert min(distances, key=distances.__getitem__) == 1.0


@pytest.mark.parametrize(("offset", "low", "high"), [(0.0, 0.0, 0.08), (8.0, 0.2, 0.6)])
def test_frequency_loss_measures_the_distance(offset: float, low: float, high: float) -> None:
    centre, spread = torch.tensor([430.0, 460.0, 1000.0]), torch.tensor([20.0, 20.0, 40.0])
    target = sine(440)
    frequencies = torch.tensor([440.0 + offset, 440.0 + offset, 1000.0]).expand(1, RATE // 80, 3)
    assert low <= float(frequency_loss(frequencies, target, centre, spread, RATE, 80, 2048)) <= high


def test_discriminators_learn_to_tell_two_sounds_apart() -> None:
    torch.manual_seed(0)
    judges = Discriminators()
    optimizer = torch.optim.Adam(judges.parameters(), 2e-3)
    real, fake = sine(440, 0.25), 0.1 * torch.randn(1, RATE // 4)
    losses = []
    for _ in range(12):
        loss = discriminator_loss(judges(real), judges(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    fooled, matching = adversarial_loss(judges(real), judges(fake))
    assert float(fooled.detach()) > 1
    assert float(adversarial_loss(judges(real), judges(real))[1].detach()) == 0
    assert float(matching.detach()) > 0.1
