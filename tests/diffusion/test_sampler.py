import pytest
import torch

from specdiffd.diffusion.sampler import flow_step, flow_times, frame_noise


def test_noise_is_a_function_of_seed_and_frame() -> None:
    whole = frame_noise(1, -100, 300, 8)
    assert torch.equal(frame_noise(1, 17, 5, 8), whole[117:122])
    assert torch.equal(frame_noise(1, -3, 70, 8), whole[97:167])
    assert not torch.equal(frame_noise(2, 17, 5, 8), whole[117:122])


def test_noise_is_standard_normal() -> None:
    x = frame_noise(0, 10**9, 2000, 128)
    assert abs(float(x.mean())) < 0.01
    assert float(x.std()) == pytest.approx(1, abs=0.01)
    assert abs(float((x[:-1] * x[1:]).mean())) < 0.01


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_true_velocity_leads_to_the_data(steps: int) -> None:
    """On a straight line every number of steps is exact."""
    data, noise, prior = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4)
    residual = (data - prior) / 0.1
    x = prior + 0.1 * noise
    for number in range(steps):
        x = flow_step(x, noise - residual, number, steps, 0.1)
    assert torch.allclose(x, data, atol=1e-5)
    assert flow_times(steps)[0] == 1
    assert flow_times(steps)[-1] == 0
