import pytest
import torch

from specdiffd.model.sampler import flow_step, flow_times, frame_noise, texture


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


def test_texture_is_a_function_of_seed_and_frame() -> None:
    whole = texture(1, 1, -100, 300, 8)
    assert torch.allclose(texture(1, 1, 17, 5, 8), whole[:, 117:122], atol=1e-6)
    assert not torch.allclose(texture(2, 1, 17, 5, 8), whole[:, 117:122], atol=0.1)


def test_texture_is_alike_in_close_frames_and_bins() -> None:
    x = texture(0, 1, 0, 20000, 40)[0]
    assert float(x.var()) == pytest.approx(1, abs=0.05)
    frames = [float((x[:-lag] * x[lag:]).mean()) for lag in (1, 2, 8)]
    bins = [float((x[:, :-lag] * x[:, lag:]).mean()) for lag in (1, 2)]
    assert frames == pytest.approx([0.656, 0.415, -0.09], abs=0.04)
    assert bins == pytest.approx([0.54, 0.25], abs=0.06)
    seconds = x.unfold(0, 50, 50).mean(-1)  # of 50 frames that were independent: 0.02
    assert float(seconds.var()) < 0.02
