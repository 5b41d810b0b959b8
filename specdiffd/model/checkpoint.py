"""Checkpoints in the hub layout: a directory with a config.json and a safetensors file for each component."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from specdiffd.errors import CheckpointError

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = "model_index.json"
C = TypeVar("C")
M = TypeVar("M", bound=nn.Module)


def read_config(path: Path, kind: type[C], key: str | None = None) -> C:
    """A JSON file (or the object under one of its keys) as ``kind``; missing fields take their defaults, others are ignored.

    Raises:
        CheckpointError: the file is missing or not what it should be.
    """
    raw = read_json(path)
    if key is not None:
        raw = raw.get(key, {})
        if not isinstance(raw, dict):
            raise CheckpointError(f"{path}: {key} should be an object, found {raw!r}")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{k: v for k, v in raw.items() if k in known})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: the file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object to a file."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


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


def save_component(folder: Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], dtype: torch.dtype = torch.float16) -> None:
    """Write config.json and the weights, floating point tensors as ``dtype``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    tensors = {k: v.detach().cpu().to(dtype if v.is_floating_point() else v.dtype).contiguous() for k, v in weights.items()}
    save_file(tensors, folder / WEIGHTS)
