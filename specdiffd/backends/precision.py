"""Whether a device computes faster in bfloat16."""

from __future__ import annotations

import time
from functools import lru_cache

import torch

BF16_GAIN = 1.3  # least speed-up: with bfloat16 units it is larger; a smaller one may be noise, and not worth the rounding


@lru_cache
def bfloat16_is_faster(device: str) -> bool:
    """Whether networks compute faster in bfloat16 on a torch device.

    NVIDIA GPUs have units for it from compute capability 8 on, and so have AMD GPUs under ROCm. They are not measured: a small product
    would time the launch of its kernel. Devices of other kinds (mps, xpu) use float32, in which every operation is known to work.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
    return kind == "cpu" and _processor_gains()


@torch.inference_mode()
def _processor_gains() -> bool:
    """Whether a typical matrix product is faster. Measured, since processors that emulate bfloat16 are slower with it."""

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(64, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        times = []
        for _ in range(12):
            start = time.perf_counter()
            float((a @ b)[0, 0])
            times.append(time.perf_counter() - start)
        return sorted(times)[len(times) // 2]

    return BF16_GAIN * seconds(torch.bfloat16) < seconds(torch.float32)
