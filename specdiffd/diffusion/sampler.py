"""Samplers as pure functions.

Published checkpoints are sampled by ancestral DDPM (arXiv 2006.11239), DDIM (arXiv 2010.02502) or DPM-Solver++(2M)
(arXiv 2211.01095), each as diffusers does it: `sample_diffusion`.

The built-in instrument's flow runs from N(prior, noise_scale^2) at t = 1 to the spectrogram at t = 0 along straight lines:
x_t = (1 - t) x_0 + t (prior + noise_scale * noise); the network predicts (dx/dt) / noise_scale (rectified flow,
arXiv 2209.03003, with the prior of a lighter network as its source as in arXiv 2105.02446).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from specdiffd.diffusion.schedule import DiffusionConfig, DiffusionSchedule

NOISE_BLOCK_FRAMES = 64  # frames drawn from one key; another number would give every seed different noise


@dataclass(frozen=True)
class FlowConfig:
    """The scheduler's config of an instrument that samples a flow: how many steps it was made for.

    Raises:
        ValueError: fewer than one.
    """

    num_inference_steps: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.num_inference_steps <= 1000:
            raise ValueError(f"num_inference_steps {self.num_inference_steps}: expected 1 to 1000")


def frame_noise(seed: int, first_frame: int, frames: int, width: int) -> Tensor:
    """Standard normal noise (frames, width) that is a function of (seed, absolute frame): Philox, keyed by block."""
    first, last = first_frame // NOISE_BLOCK_FRAMES, (first_frame + frames - 1) // NOISE_BLOCK_FRAMES
    blocks = [_noise_block(seed, block, width) for block in range(first, last + 1)]
    offset = first_frame - first * NOISE_BLOCK_FRAMES
    return torch.cat(blocks)[offset : offset + frames]


def part_noise(seed: int, parts: int, first: int, frames: int, bins: int) -> Tensor:
    """Noise (parts, frames, bins) of :func:`frame_noise`, with a different seed for each part."""
    return torch.stack([frame_noise(seed + 7919 * part, first, frames, bins) for part in range(parts)])


def _noise_block(seed: int, block: int, width: int) -> Tensor:
    generator = np.random.Generator(np.random.Philox(key=np.array((seed % 2**64, block % 2**64), np.uint64)))
    return torch.from_numpy(generator.standard_normal((NOISE_BLOCK_FRAMES, width), np.float32))


def flow_times(steps: int) -> list[float]:
    """Times of an Euler flow from 1 to 0: ``steps`` + 1 values."""
    return [1 - k / steps for k in range(steps + 1)]


def flow_step(x: Tensor, velocity: Tensor, number: int, steps: int, noise_scale: float) -> Tensor:
    """Euler's step ``number`` of ``steps``: x at ``flow_times(steps)[number + 1]`` from that before and its velocity, in units of ``noise_scale``."""
    now, after = flow_times(steps)[number : number + 2]
    return x - (now - after) * noise_scale * velocity


def sample_diffusion(
    predict: Callable[[Tensor, int], Tensor], x: Tensor, schedule: DiffusionSchedule, draw: Callable[[], Tensor] | None = None
) -> Tensor:
    """Noise to a sample.

    Args:
        predict: (x_t, number of the step) to what the network was trained to predict, same shape.
        x: the initial noise.
        schedule: which sampler, at which timesteps.
        draw: noise of the same shape, called once for each ancestral step but the last; None: no noise is added.
    """
    step = {"ddpm": _ddpm_step, "ddim": _ddim_step, "dpmsolver++": None}[schedule.kind]
    if step is None:
        return _solve(predict, x, schedule)
    for number in range(len(schedule.timesteps)):
        x = step(predict(x, number), x, number, schedule, draw)
    return x


Draw = Callable[[], Tensor] | None


def _alphas(schedule: DiffusionSchedule, number: int, final: Tensor) -> tuple[Tensor, Tensor]:
    """Cumulated alphas at a step's timestep and at the next one; ``final`` after the last."""
    config = schedule.config
    t = schedule.timesteps[number]
    before = t - config.num_train_timesteps // len(schedule.timesteps)
    return schedule.alphas_cumprod[t], schedule.alphas_cumprod[before] if before >= 0 else final


def _clean(output: Tensor, x: Tensor, alpha: Tensor, config: DiffusionConfig) -> Tensor:
    """The predicted sample, clipped as the config says (arXiv 2006.11239, equation 15; thresholding: arXiv 2205.11487)."""
    match config.prediction_type:
        case "epsilon":
            clean = (x - (1 - alpha) ** 0.5 * output) / alpha**0.5
        case "sample":
            clean = output
        case _:
            clean = alpha**0.5 * x - (1 - alpha) ** 0.5 * output
    if config.thresholding:
        return _threshold(clean, config)
    return clean.clamp(-config.clip_sample_range, config.clip_sample_range) if config.clip_sample else clean


def _threshold(clean: Tensor, config: DiffusionConfig) -> Tensor:
    limit = torch.quantile(clean.flatten(1).abs(), config.dynamic_thresholding_ratio, dim=1)
    limit = limit.clamp(min=1, max=config.sample_max_value).view(-1, *[1] * (clean.ndim - 1))
    return torch.clamp(clean, -limit, limit) / limit


def _ddpm_step(output: Tensor, x: Tensor, number: int, schedule: DiffusionSchedule, draw: Draw) -> Tensor:
    """Equation 7 of arXiv 2006.11239."""
    now, after = _alphas(schedule, number, torch.tensor(1.0))
    clean = _clean(output, x, now, schedule.config)
    ratio = now / after
    beta = 1 - ratio
    mean = after**0.5 * beta / (1 - now) * clean + ratio**0.5 * (1 - after) / (1 - now) * x
    if draw is None or schedule.timesteps[number] == 0:
        return mean
    small = ((1 - after) / (1 - now) * beta).clamp(min=1e-20)
    match schedule.config.variance_type:
        case "fixed_small" | "fixed_small_log":
            deviation = small**0.5
        case "fixed_large":
            deviation = beta**0.5
        case _:
            deviation = torch.log(beta) ** 0.5
    return mean + deviation * draw()


def _ddim_step(output: Tensor, x: Tensor, number: int, schedule: DiffusionSchedule, draw: Draw) -> Tensor:
    """Equation 12 of arXiv 2010.02502 with sigma = 0."""
    config = schedule.config
    now, after = _alphas(schedule, number, torch.tensor(1.0) if config.set_alpha_to_one else schedule.alphas_cumprod[0])
    clean = _clean(output, x, now, config)
    match config.prediction_type:
        case "epsilon":
            noise = output
        case "sample":
            noise = (x - now**0.5 * output) / (1 - now) ** 0.5
        case _:
            noise = now**0.5 * output + (1 - now) ** 0.5 * x
    return after**0.5 * clean + (1 - after) ** 0.5 * noise


def _solve(predict: Callable[[Tensor, int], Tensor], x: Tensor, schedule: DiffusionSchedule) -> Tensor:
    """DPM-Solver++(2M), algorithm 2 of arXiv 2211.01095. It ignores ``clip_sample``, as diffusers does, but not ``thresholding``."""
    config, count = schedule.config, len(schedule.timesteps)
    every = (((1 - schedule.alphas_cumprod) / schedule.alphas_cumprod) ** 0.5).numpy()
    last = float(every[0]) if config.final_sigmas_type == "sigma_min" else 0.0
    sigmas = torch.from_numpy(np.concatenate((np.interp(schedule.timesteps, np.arange(len(every)), every), [last])).astype(np.float32))
    alpha = 1 / (sigmas**2 + 1) ** 0.5
    sigma = sigmas * alpha
    lambdas = torch.log(alpha) - torch.log(sigma)
    earlier: Tensor | None = None
    for k in range(count):
        clean = _solver_clean(predict(x, k), x, alpha[k], sigma[k], config)
        h = lambdas[k + 1] - lambdas[k]
        decay = torch.exp(-h) - 1.0
        final = config.euler_at_final or (config.lower_order_final and count < 15) or config.final_sigmas_type == "zero"
        first_order = config.solver_order == 1 or earlier is None or (k == count - 1 and final)
        moved = (sigma[k + 1] / sigma[k]) * x - (alpha[k + 1] * decay) * clean
        if not first_order:
            assert earlier is not None
            slope = h / (lambdas[k] - lambdas[k - 1]) * (clean - earlier)
            factor = -0.5 * decay if config.solver_type == "midpoint" else decay / h + 1.0
            moved = moved + (alpha[k + 1] * factor) * slope
        x, earlier = moved, clean
    return x


def _solver_clean(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, config: DiffusionConfig) -> Tensor:
    match config.prediction_type:
        case "epsilon":
            clean = (x - sigma * output) / alpha
        case "sample":
            clean = output
        case _:
            clean = alpha * x - sigma * output
    return _threshold(clean, config) if config.thresholding else clean
