"""Weights of checkpoints in the hub layout: one safetensors file for each component, verified before use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from specdiffd.errors import CheckpointError
from specdiffd.layout import CONFIG, WEIGHTS, write_json

M = TypeVar("M", bound=nn.Module)


def load_weights(folder: Path, module: M) -> M:
    """Fill ``module`` (float32) from the component's safetensors file, after checking every key and shape.

    Raises:
        CheckpointError: naming file, key, found and expected shape.
    """
    path = folder / WEIGHTS
    if not path.exists():
        raise CheckpointError(f"{path} is missing")
    expected = module.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            keys = set(file.keys())
            for key in sorted(expected.keys() | keys):
                _check(path, key, expected, keys, file)
            tensors = {key: file.get_tensor(key).float() for key in keys}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    module.load_state_dict(tensors)
    return module.eval().requires_grad_(False)


def _check(path: Path, key: str, expected: Mapping[str, torch.Tensor], keys: set[str], file: Any) -> None:
    if key not in keys:
        raise CheckpointError(f"{path}: key {key} is missing, expected with shape {tuple(expected[key].shape)}")
    if key not in expected:
        raise CheckpointError(f"{path}: unknown key {key}")
    found = tuple(file.get_slice(key).get_shape())
    if found != tuple(expected[key].shape):
        raise CheckpointError(f"{path}: {key} has shape {found}, expected {tuple(expected[key].shape)}")


def save_component(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], dtype: torch.dtype = torch.float16
) -> None:
    """Write config.json and the weights, floating point tensors as ``dtype``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, config)
    tensors = {k: v.detach().cpu().to(dtype if v.is_floating_point() else v.dtype).contiguous() for k, v in weights.items()}
    save_file(tensors, folder / WEIGHTS)
