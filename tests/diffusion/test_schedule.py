"""Noise schedules and timesteps against their formulas in double precision."""

import math

import numpy as np
import pytest
import torch

from specdiffd.diffusion.sampler import FlowConfig, flow_step, flow_times, frame_noise, part_noise
from specdiffd.diffusion.schedule import SCHEDULERS, SPACINGS, DiffusionConfig, betas, diffusion_schedule


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_linear_noise_grows_evenly(steps: int) -> None:
    found = betas(DiffusionConfig(num_train_timesteps=steps, beta_start=0.001, beta_end=0.03))
    np.testing.assert_allclose(found.numpy(), np.linspace(0.001, 0.03, steps), rtol=1e-5)


def test_scaled_noise_grows_evenly_in_its_root() -> None:
    found = betas(DiffusionConfig(num_train_timesteps=50, beta_schedule="scaled_linear"))
    np.testing.assert_allclose(np.diff(np.sqrt(found.double().numpy()), 2), 0, atol=1e-7)


def test_sigmoid_noise_is_symmetric() -> None:
    found = betas(DiffusionConfig(num_train_timesteps=101, beta_schedule="sigmoid")).double().numpy()
    np.testing.assert_allclose(found + found[::-1], 0.0001 + 0.02, atol=1e-7)
    assert (np.diff(found) > 0).all()


def test_cosine_noise_leaves_a_cosine_of_the_signal() -> None:
    n = 200
    left = torch.cumprod(1 - betas(DiffusionConfig(num_train_timesteps=n, beta_schedule="squaredcos_cap_v2")).double(), 0).numpy()
    times = np.arange(1, n + 1) / n
    expected = np.cos((times + 0.008) / 1.008 * math.pi / 2) ** 2 / np.cos(0.008 / 1.008 * math.pi / 2) ** 2
    np.testing.assert_allclose(left[:-1], expected[:-1], atol=1e-5)  # the last step is capped


def test_trained_noise_is_taken_as_it_is() -> None:
    values = [0.01, 0.5, 0.2]
    found = betas(DiffusionConfig(num_train_timesteps=3, trained_betas=values, beta_schedule="sigmoid"))
    assert found.tolist() == pytest.approx(values)


@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
def test_rescaled_noise_leaves_nothing_of_the_signal(schedule: str) -> None:
    plain, rescaled = (
        torch.cumprod(1 - betas(DiffusionConfig(beta_schedule=schedule, rescale_betas_zero_snr=on)), 0) for on in (False, True)
    )
    assert float(rescaled[-1]) == 0.0
    assert float(rescaled[0]) == pytest.approx(float(plain[0]), rel=1e-4)
    assert bool((rescaled.diff() <= 0).all())


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_timesteps_descend_within_what_was_trained(kind: str, spacing: str, steps: int) -> None:
    schedule = diffusion_schedule(DiffusionConfig(timestep_spacing=spacing), kind, steps)
    assert len(schedule.timesteps) == steps
    assert all(0 <= t < 1000 for t in schedule.timesteps)
    assert list(schedule.timesteps) == sorted(set(schedule.timesteps), reverse=True)
    if spacing == "trailing" or (spacing == "linspace" and (steps > 1 or kind == "dpmsolver++")):
        assert schedule.timesteps[0] == 999, "it begins with the noisiest"


def test_leading_timesteps_are_moved_by_the_offset() -> None:
    plain, moved = (diffusion_schedule(DiffusionConfig(steps_offset=k), "ddim", 10).timesteps for k in (0, 1))
    assert plain == tuple(range(900, -1, -100))
    assert moved == tuple(t + 1 for t in plain)
    with pytest.raises(ValueError, match="steps_offset 999 leads beyond timestep 999"):
        diffusion_schedule(DiffusionConfig(steps_offset=999), "ddim", 10)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_flow_ends_at_its_data_whatever_the_steps(steps: int) -> None:
    """Along straight lines the velocity is constant: Euler's method makes no error."""
    times = flow_times(steps)
    assert (times[0], times[-1], len(times)) == (1.0, 0.0, steps + 1)
    torch.manual_seed(0)
    data, prior, noise = torch.randn(3, 5)
    scale = 0.3
    x = prior + scale * noise
    velocity = (x - data) / scale
    for number in range(steps):
        x = flow_step(x, velocity, number, steps, scale)
    torch.testing.assert_close(x, data, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("steps", "allowed"), [(0, False), (1, True), (1000, True), (1001, False)])
def test_a_flow_has_one_to_a_thousand_steps(steps: int, allowed: bool) -> None:
    if allowed:
        assert FlowConfig(steps).num_inference_steps == steps
    else:
        with pytest.raises(ValueError, match=f"num_inference_steps {steps}: expected 1 to 1000"):
            FlowConfig(steps)


@pytest.mark.parametrize(("first", "frames"), [(0, 1), (63, 2), (64, 64), (-5, 200), (1_000_000, 3)])
def test_noise_of_a_stretch_is_that_of_its_frames(first: int, frames: int) -> None:
    whole = frame_noise(3, first, frames, 6)
    assert whole.shape == (frames, 6)
    for k in {0, frames // 2, frames - 1}:
        assert torch.equal(whole[k : k + 1], frame_noise(3, first + k, 1, 6))


def test_parts_and_seeds_have_noise_of_their_own() -> None:
    parts = part_noise(1, 3, 10, 200, 8)
    assert torch.equal(parts[0], frame_noise(1, 10, 200, 8))
    flat = torch.cat((parts, frame_noise(2, 10, 200, 8)[None])).flatten(1)
    assert float((torch.corrcoef(flat) - torch.eye(4)).abs().max()) < 0.1
