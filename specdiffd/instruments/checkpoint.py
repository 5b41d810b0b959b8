"""Weights of checkpoints in the hub layout: one safetensors file for each component, verified before use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from specdiffd.base.errors import CheckpointError, SpecdiffdError
from specdiffd.instruments.layout import CONFIG, PICKLED_WEIGHTS, WEIGHTS, write_json

M = TypeVar("M", bound=nn.Module)
SCALE = ".scale"  # suffix of the tensor with the value of 1 in each row of an eight-bit matrix
LARGEST = 127  # eight-bit weight
Shape = tuple[int, ...]


def load_weights(folder: Path, make: Callable[[], M], dtype: torch.dtype = torch.float32) -> M:
    """The module that ``make`` builds with the component's weights, after every key and shape has been checked.

    Nothing of the module's size is allocated before: a wrong config cannot fill the memory. Weights that are in ``dtype``
    already stay in the mapped file.

    Raises:
        CheckpointError: naming file, key, found and expected shape.
    """
    with torch.device("meta"):
        module = make()
    expected = module.state_dict()
    path, tensors = _read(folder, {key: tuple(weight.shape) for key, weight in expected.items()})
    weights = {}
    for key, tensor in tensors.items():
        codes = not expected[key].is_floating_point()
        if tensor.dtype != expected[key].dtype if codes else not tensor.is_floating_point():
            raise CheckpointError(
                f"{path}: {key} has values of type {tensor.dtype}, expected {expected[key].dtype if codes else 'floating point'}"
            )
        weights[key] = tensor if codes else tensor.to(dtype)
        if not bool(torch.isfinite(weights[key]).all()):
            raise CheckpointError(f"{path}: {key} has values that are not finite numbers")
    module.load_state_dict(weights, assign=True)
    for part in module.modules():
        if isinstance(part, HasConstants):
            part.make_constants()
    return module.eval().requires_grad_(False)


@runtime_checkable
class HasConstants(Protocol):
    """A module with buffers that follow from its config and are not part of a checkpoint."""

    def make_constants(self) -> None:
        """Make these buffers."""


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The component's weights, unchecked.

    Raises:
        CheckpointError: there are none, or the file is damaged.
    """
    return _read(folder, None)[1]


def _read(folder: Path, expected: Mapping[str, Shape] | None) -> tuple[Path, dict[str, torch.Tensor]]:
    """The path and tensors of the component's weights: safetensors, else a pickle. Checked against ``expected`` shapes unless that is None."""
    path = folder / WEIGHTS
    if path.exists():
        try:
            with safe_open(path, framework="pt") as file:
                keys = list(file.keys())
                scales = {key for key in keys if key.endswith(SCALE) and key.removesuffix(SCALE) in keys}
                _check(path, {key: tuple(file.get_slice(key).get_shape()) for key in keys if key not in scales}, expected)
                return path, {key: _widened(file, key, scales) for key in keys if key not in scales}
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
    path = folder / PICKLED_WEIGHTS
    if not path.exists():
        raise CheckpointError(f"{folder / WEIGHTS} is missing, and so is {PICKLED_WEIGHTS}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damage and forbidden content raise errors of many kinds
        raise CheckpointError(f"{path} is damaged or holds more than weights: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()):
        raise CheckpointError(f"{path}: expected tensors by name, found something else")
    _check(path, {key: tuple(tensor.shape) for key, tensor in content.items()}, expected)
    return path, content


def _widened(file: Any, key: str, scales: set[str]) -> torch.Tensor:
    tensor: torch.Tensor = file.get_tensor(key)
    return tensor * file.get_tensor(key + SCALE) if key + SCALE in scales else tensor


def _check(path: Path, found: Mapping[str, Shape], expected: Mapping[str, Shape] | None) -> None:
    if expected is None:
        return
    for key in sorted(expected.keys() | found.keys()):
        if key not in found:
            raise CheckpointError(f"{path}: key {key} is missing, expected with shape {expected[key]}")
        if key not in expected:
            raise CheckpointError(f"{path}: unknown key {key} of shape {found[key]}")
        if found[key] != expected[key]:
            raise CheckpointError(f"{path}: {key} has shape {found[key]}, expected {expected[key]}")


def save_component(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    dtype: torch.dtype = torch.float16,
    whole_numbers: bool = False,
) -> None:
    """Write config.json and the weights: floating point tensors as ``dtype``, eight-bit ones unchanged.

    Args:
        whole_numbers: store matrices as eight-bit integers, with a scale for each row.

    Raises:
        SpecdiffdError: the weights cannot be written, for example because the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, config)
    stored: dict[str, torch.Tensor] = {}
    for key, weight in weights.items():
        if whole_numbers and weight.is_floating_point() and weight.dim() == 2:
            scale = weight.abs().amax(1, keepdim=True).float().clamp_min(1e-30) / LARGEST
            stored[key], stored[key + SCALE] = (weight / scale).round().to(torch.int8), scale
        else:
            stored[key] = weight.to(dtype) if weight.is_floating_point() and weight.itemsize > 1 else weight
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in stored.items()}, folder / WEIGHTS)
    except SafetensorError as error:
        raise SpecdiffdError(f"cannot write {folder / WEIGHTS}: {error}") from error
