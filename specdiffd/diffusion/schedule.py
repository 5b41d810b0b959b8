"""Noise schedules of published checkpoints: what ``scheduler/scheduler_config.json`` says, with diffusers' arithmetic.

Sums and products are computed in float32 in the same order as there: the last alpha of a thousand steps is near 0,
so its rounding is visible in the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CLASSES = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmsolver++"}
SCHEDULERS = tuple(CLASSES.values())
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
PREDICTIONS = ("epsilon", "sample", "v_prediction")
SPACINGS = ("leading", "linspace", "trailing")
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
SOLVERS = ("midpoint", "heun")


@dataclass(frozen=True)
class DiffusionConfig:
    """The fields of a scheduler's config, named as in the hub layout, with the defaults of the public classes.

    Raises:
        ValueError: a value that is unknown or out of range, or an option that is not supported.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: list[float] | None = None
    variance_type: str | None = "fixed_small"
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    prediction_type: str = "epsilon"
    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0
    timestep_spacing: str | None = None
    steps_offset: int = 0
    rescale_betas_zero_snr: bool = False
    set_alpha_to_one: bool = True
    solver_order: int = 2
    algorithm_type: str = "dpmsolver++"
    solver_type: str = "midpoint"
    lower_order_final: bool = True
    euler_at_final: bool = False
    final_sigmas_type: str = "zero"
    lambda_min_clipped: float = -math.inf
    use_karras_sigmas: bool = False
    use_lu_lambdas: bool = False

    def __post_init__(self) -> None:
        for name, known in (
            ("beta_schedule", BETA_SCHEDULES),
            ("prediction_type", PREDICTIONS),
            ("timestep_spacing", (*SPACINGS, None)),
            ("variance_type", (*VARIANCES, None)),
            ("algorithm_type", ("dpmsolver++",)),
            ("solver_type", SOLVERS),
            ("solver_order", (1, 2)),
            ("final_sigmas_type", ("zero", "sigma_min")),
            ("use_karras_sigmas", (False, None)),
            ("use_lu_lambdas", (False, None)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(str(k) for k in known)}")
        if not 1 <= self.num_train_timesteps <= 100_000:
            raise ValueError(f"num_train_timesteps {self.num_train_timesteps}: expected 1 to 100000")
        if self.trained_betas is not None and len(self.trained_betas) != self.num_train_timesteps:
            raise ValueError(f"trained_betas: {len(self.trained_betas)} values for {self.num_train_timesteps} timesteps")
        if not 0 <= self.steps_offset < self.num_train_timesteps:
            raise ValueError(f"steps_offset {self.steps_offset}: expected 0 to {self.num_train_timesteps - 1}")


class DiffusionSchedule(NamedTuple):
    """A scheduler with a number of steps."""

    kind: str  # of SCHEDULERS
    config: DiffusionConfig
    timesteps: tuple[int, ...]  # descending
    alphas_cumprod: Tensor  # (num_train_timesteps,)


def diffusion_schedule(config: DiffusionConfig, kind: str, steps: int) -> DiffusionSchedule:
    """The timesteps of the scheduler ``kind`` for a number of steps.

    Raises:
        ValueError: an unknown kind, or more steps than the network was trained with.
    """
    if kind not in SCHEDULERS:
        raise ValueError(f"scheduler {kind!r}: expected one of {', '.join(SCHEDULERS)}")
    if not 1 <= steps <= config.num_train_timesteps:
        raise ValueError(f"{steps} steps: expected 1 to {config.num_train_timesteps}, which the network was trained with")
    alphas = torch.cumprod(1.0 - betas(config), 0)
    if kind == "dpmsolver++":
        if config.rescale_betas_zero_snr:
            alphas[-1] = 2.0**-24  # its first sigma would be infinite
        timesteps = _solver_timesteps(config, alphas, steps)
    else:
        timesteps = _timesteps(config, steps)
    if timesteps.max() >= config.num_train_timesteps:
        raise ValueError(f"steps_offset {config.steps_offset} leads beyond timestep {config.num_train_timesteps - 1}")
    return DiffusionSchedule(kind, config, tuple(int(t) for t in timesteps), alphas)


def betas(config: DiffusionConfig) -> Tensor:
    """Noise added at each of the training timesteps (num_train_timesteps,)."""
    n, low, high = config.num_train_timesteps, config.beta_start, config.beta_end
    if config.trained_betas is not None:
        values = torch.tensor(config.trained_betas, dtype=torch.float32)
    elif config.beta_schedule == "linear":
        values = torch.linspace(low, high, n, dtype=torch.float32)
    elif config.beta_schedule == "scaled_linear":
        values = torch.linspace(low**0.5, high**0.5, n, dtype=torch.float32) ** 2
    elif config.beta_schedule == "sigmoid":
        values = torch.sigmoid(torch.linspace(-6, 6, n)) * (high - low) + low
    else:
        values = torch.tensor([min(1 - _cosine((k + 1) / n) / _cosine(k / n), 0.999) for k in range(n)], dtype=torch.float32)
    return _zero_terminal_snr(values) if config.rescale_betas_zero_snr else values


def _cosine(t: float) -> float:
    """Share of the signal left at time t (arXiv 2102.09672, equation 17)."""
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


def _zero_terminal_snr(values: Tensor) -> Tensor:
    """Shifted and scaled so that nothing is left of the signal at the end (arXiv 2305.08891, algorithm 1)."""
    roots = torch.cumprod(1.0 - values, 0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots = (roots - last) * (first / (first - last))
    products = roots**2
    return 1 - torch.cat((products[:1], products[1:] / products[:-1]))


def _timesteps(config: DiffusionConfig, steps: int) -> NDArray[np.int64]:
    n = config.num_train_timesteps
    match config.timestep_spacing or "leading":
        case "linspace":
            found: NDArray[Any] = np.linspace(0, n - 1, steps).round()[::-1]
        case "leading":
            found = (np.arange(steps) * (n // steps))[::-1] + config.steps_offset
        case _:
            found = np.round(np.arange(n, 0, -n / steps)) - 1
    return found.astype(np.int64)


def _solver_timesteps(config: DiffusionConfig, alphas: Tensor, steps: int) -> NDArray[np.int64]:
    """Spaced as in diffusers' DPM-Solver: the last one is left out, and ``lambda_min_clipped`` may leave out the noisiest."""
    lambdas = torch.log(alphas.sqrt()) - torch.log((1 - alphas).sqrt())
    clipped = int(torch.searchsorted(lambdas.flip(0), config.lambda_min_clipped))
    n, last = config.num_train_timesteps, config.num_train_timesteps - clipped
    match config.timestep_spacing or "linspace":
        case "linspace":
            found: NDArray[Any] = np.linspace(0, last - 1, steps + 1).round()[::-1][:-1]
        case "leading":
            found = (np.arange(steps + 1) * (last // (steps + 1)))[::-1][:-1] + config.steps_offset
        case _:
            found = np.arange(last, 0, -n / steps).round() - 1
    return found.astype(np.int64)
