"""Samplers as pure functions.

The built-in instrument's flow runs from N(prior, noise_scale^2) at t = 1 to the spectrogram at t = 0 along straight lines:
x_t = (1 - t) x_0 + t (prior + noise_scale * noise); the network predicts (dx/dt) / noise_scale (rectified flow,
arXiv 2209.03003, with the prior of a lighter network as its source as in arXiv 2105.02446).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

NOISE_BLOCK_FRAMES = 64


def frame_noise(seed: int, first_frame: int, frames: int, width: int) -> Tensor:
    """Standard normal noise (frames, width) that is a function of (seed, absolute frame): Philox, keyed by block."""
    first, last = first_frame // NOISE_BLOCK_FRAMES, (first_frame + frames - 1) // NOISE_BLOCK_FRAMES
    blocks = [_noise_block(seed, block, width) for block in range(first, last + 1)]
    offset = first_frame - first * NOISE_BLOCK_FRAMES
    return torch.cat(blocks)[offset : offset + frames]


def _noise_block(seed: int, block: int, width: int) -> Tensor:
    generator = np.random.Generator(np.random.Philox(key=np.array((seed % 2**64, block % 2**64), np.uint64)))
    return torch.from_numpy(generator.standard_normal((NOISE_BLOCK_FRAMES, width), np.float32))


def flow_times(steps: int) -> list[float]:
    """Times of an Euler flow from 1 to 0: ``steps`` + 1 values."""
    return [1 - k / steps for k in range(steps + 1)]


def sample_flow(velocity: Callable[[Tensor, int], Tensor], x: Tensor, steps: int, noise_scale: float) -> Tensor:
    """Euler integration of the flow.

    Args:
        velocity: (x_t, number of the step, whose time is ``flow_times(steps)[number]``) to the predicted velocity in units
            of ``noise_scale``, same shape.
        x: start, at t = 1.
        steps: how many calls.
    """
    times = flow_times(steps)
    for number, (now, after) in enumerate(itertools.pairwise(times)):
        x = x - (now - after) * noise_scale * velocity(x, number)
    return x
