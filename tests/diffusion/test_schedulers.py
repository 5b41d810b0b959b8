"""Samplers against the public schedulers' trajectories (tests/goldens/make.py)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from specdiffd.diffusion.sampler import sample_diffusion
from specdiffd.diffusion.schedule import DiffusionConfig, betas, diffusion_schedule

GOLDENS = Path(__file__).parents[1] / "goldens"
CONFIGS = json.loads((GOLDENS / "schedulers.json").read_text())
WANTED = np.load(GOLDENS / "schedulers.npz")


@pytest.mark.parametrize("name", WANTED.files)
def test_trajectories_are_those_of_the_public_schedulers(name: str) -> None:
    variant, kind, steps = name.split("/")
    known = DiffusionConfig.__dataclass_fields__
    schedule = diffusion_schedule(DiffusionConfig(**{k: v for k, v in CONFIGS[variant].items() if k in known}), kind, int(steps))
    generator = torch.Generator().manual_seed(11)

    def draw() -> Tensor:
        return torch.randn(1, 16, 8, generator=generator)

    def predict(x: Tensor, step: int) -> Tensor:
        return torch.tanh(x * (1 + schedule.timesteps[step] / 500)) * 0.8 + 0.1

    found = sample_diffusion(predict, draw(), schedule, draw).numpy()
    wanted = WANTED[name]
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5 * max(1.0, float(np.nanmax(np.abs(wanted), initial=0))))


def test_the_published_schedule_ends_in_noise() -> None:
    config = DiffusionConfig(beta_schedule="squaredcos_cap_v2")
    left = torch.cumprod(1 - betas(config), 0)
    assert float(left[0]) > 0.9999
    assert float(left[-1]) < 1e-5
    assert (left.diff() < 0).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"beta_schedule": "cosine"}, "squaredcos_cap_v2"),
        ({"prediction_type": "x0"}, "v_prediction"),
        ({"variance_type": "learned"}, "fixed_large"),
        ({"num_train_timesteps": 0}, "1 to 100000"),
        ({"trained_betas": [0.1]}, "1 values for 1000"),
        ({"steps_offset": 1000}, "0 to 999"),
        ({"algorithm_type": "sde-dpmsolver++"}, r"dpmsolver\+\+"),
    ],
)
def test_what_is_not_known_is_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DiffusionConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "steps", "says"), [("euler", 5, "dpmsolver"), ("ddpm", 0, "1 to 1000"), ("ddim", 1001, "1 to 1000")])
def test_impossible_requests(kind: str, steps: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        diffusion_schedule(DiffusionConfig(), kind, steps)
