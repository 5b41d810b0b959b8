"""Partials lie where a stiff string has them, in both forms, and each is in the mel bins what its spectrum is."""

import numpy as np
import pytest
import torch

from specdiffd.base.formats import MelFormat
from specdiffd.base.mel_scale import hz_to_mel
from specdiffd.base.mel_scale_kernels import MelAxis
from specdiffd.dsp.mel import log_mel
from specdiffd.prior.config import PriorConfig
from specdiffd.prior.partials import LOBE_STEPS, harmonic_lobes, partial_responses, partials_hz
from specdiffd.prior.partials_kernels import LobeTable, add_partials, place_partials

CONFIG = PriorConfig()
AXIS = MelAxis(np.float32(CONFIG.lowest_mel + CONFIG.mels_per_bin), np.float32(1 / CONFIG.mels_per_bin))
HARMONICS = 24


@pytest.fixture(scope="module")
def lobes() -> torch.Tensor:
    return harmonic_lobes(CONFIG)


def string_hz(pitch: float, log_inharmonicity: float) -> np.ndarray:
    number = np.arange(1, HARMONICS + 1)
    fundamental = 440 * 2 ** ((pitch - 69) / 12)
    return fundamental * number * np.sqrt(1 + np.exp(np.clip(log_inharmonicity, -14, -3)) * number**2)


NOTES = [(21.0, -14.0), (60.0, -9.0), (69.37, -20.0), (108.0, -1.0)]


@pytest.mark.parametrize(("pitch", "log_inharmonicity"), NOTES)
def test_partials_are_those_of_a_stiff_string(pitch: float, log_inharmonicity: float) -> None:
    expected = string_hz(pitch, log_inharmonicity)
    found = partials_hz(torch.tensor([pitch]), torch.tensor([log_inharmonicity]), HARMONICS)[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(("pitch", "log_inharmonicity"), NOTES)
def test_compiled_partials_lie_at_the_same_places_of_the_mel_axis(pitch: float, log_inharmonicity: float) -> None:
    hertz, position, glide = np.empty((3, HARMONICS), np.float32)
    place_partials(np.float32(pitch), np.float32(log_inharmonicity), AXIS, hertz, position, glide)
    expected = string_hz(pitch, log_inharmonicity)
    np.testing.assert_allclose(hertz, expected, rtol=2e-4)

    def place(hz: np.ndarray) -> np.ndarray:
        return (hz_to_mel(hz) - CONFIG.lowest_mel) / CONFIG.mels_per_bin - 1

    np.testing.assert_allclose(position, place(expected), atol=0.01)
    up = place(expected * 2 ** (0.01 / 12)) - place(expected)
    np.testing.assert_allclose(glide, up / 0.01, rtol=2e-3)


@pytest.mark.parametrize("hertz", [110.0, 441.3, 1234.5, 5000.0])
def test_a_partial_is_the_spectrum_of_a_sinusoid(lobes: torch.Tensor, hertz: float) -> None:
    fmt = MelFormat()
    audio = torch.sin(2 * torch.pi * hertz * torch.arange(4000) / fmt.sample_rate_hz)
    measured = log_mel(audio, fmt)[5].exp().square()
    found = partial_responses(torch.tensor([[hertz]]), lobes, fmt.sample_rate_hz)[0, 0]
    loud = measured > 1e-2 * measured.max()
    assert 2 <= int(loud.sum()) < 20
    assert float((found / measured).log()[loud].abs().max()) < 0.15  # of the power; the sinusoid's phase moves it by so much


def test_compiled_responses_are_those_of_torch_and_add_up(lobes: torch.Tensor) -> None:
    rng = np.random.default_rng(0)
    hertz = np.sort(rng.uniform(30, 12000, HARMONICS)).astype(np.float32)  # a third of them above the format's range
    power = rng.uniform(0, 2, (3, HARMONICS)).astype(np.float32)
    shapes = np.full((3, CONFIG.mel_bins), 0.5, np.float32)
    step_hz = CONFIG.sample_rate_hz / 2 / (LOBE_STEPS - 1)
    add_partials(hertz, power, LobeTable(lobes.numpy(), np.float32(step_hz)), shapes)
    responses = partial_responses(torch.from_numpy(hertz)[None], lobes, CONFIG.sample_rate_hz)[0]
    np.testing.assert_allclose(shapes, 0.5 + power @ responses.numpy(), rtol=2e-3, atol=1e-3)


def test_what_is_above_the_range_is_silent(lobes: torch.Tensor) -> None:
    nyquist_hz = CONFIG.sample_rate_hz / 2
    found = partial_responses(torch.tensor([[nyquist_hz - 300, nyquist_hz + 1, 3 * nyquist_hz]]), lobes, CONFIG.sample_rate_hz)[0]
    assert float(found[0].max()) > 1
    assert not found[1:].any()


def test_gradients_lead_to_a_frequency(lobes: torch.Tensor) -> None:
    """The inharmonicity is learned through them."""
    log_inharmonicity = torch.tensor([-8.0], requires_grad=True)
    hertz = partials_hz(torch.tensor([50.0]), log_inharmonicity, HARMONICS)
    partial_responses(hertz, lobes, CONFIG.sample_rate_hz)[0, -1, 100].backward()
    assert log_inharmonicity.grad is not None
    assert float(log_inharmonicity.grad.abs()) > 0
