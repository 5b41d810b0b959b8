"""The machine that figures belong to."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import torch


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, cores, torch's version, and the device or the GPU's name."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            model = next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {"processor": model, "cores": os.cpu_count(), "torch": torch.__version__, "device": name}


def waiting_for(device: torch.device) -> Callable[[], object]:
    """A function that waits until a device has finished its work."""
    return lambda: getattr(torch, device.type).synchronize()
