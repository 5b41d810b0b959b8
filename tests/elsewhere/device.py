"""A second device without a GPU: tensors that say they are elsewhere, and refuse to meet those of the CPU as a GPU's do.

Each holds a tensor of the CPU, with which the same is computed, so results can be compared; everything between devices goes
through `Elsewhere.__torch_dispatch__`. Its rules are CUDA's: numbers (no dimensions) and indices may come from the CPU, copies go
both ways, all else raises. NumPy sees nothing of them. Like mps, it has no float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "elsewhere"
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default, aten.to.device, aten.to.dtype_layout}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class Elsewhere(torch.Tensor):
    """A tensor on the second device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        if inner.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"{NAME} has no {inner.dtype}")
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=f"{NAME}:0"
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"{NAME} {self.inner!r}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operation gives, and where."""
    flat = tree_flatten((args, kwargs))[0]
    there = [x for x in flat if isinstance(x, Elsewhere)]
    here = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere)]
    if there and here and func not in COPIES:
        by_index = func in INDEXED and isinstance(args[0], Elsewhere) and all(not x.is_floating_point() or not x.dim() for x in here)
        if not by_index and any(x.dim() for x in here):
            raise RuntimeError(f"{func}: tensors of {NAME} {_shapes(there)} and of the cpu {_shapes(here)} meet")
    device = next((x for x in flat if isinstance(x, torch.device)), None)
    stays = isinstance(args[0], Elsewhere) if func is aten.copy_.default else bool(there) if device is None else device.type == NAME
    result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    known = {id(x.inner): x for x in there}  # what is changed in place stays the same tensor
    return tree_map(lambda x: _outer(x, known) if stays and isinstance(x, torch.Tensor) else x, result)


def _inner(x: Any) -> Any:
    if isinstance(x, Elsewhere):
        return x.inner
    return torch.device("cpu") if isinstance(x, torch.device) and x.type == NAME else x


def _outer(x: torch.Tensor, known: dict[int, Elsewhere]) -> Elsewhere:
    return known[id(x)] if id(x) in known else Elsewhere(x)


def _shapes(tensors: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in tensors]


class _Dispatched(TorchDispatchMode):
    """What has no tensor among its arguments yet."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """Tensors from numbers, which PyTorch makes out of a mode's sight."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == NAME:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


class Module:
    """What ``torch.elsewhere`` is."""

    settled = 0  # how often somebody has waited

    @classmethod
    def synchronize(cls) -> None:
        cls.settled += 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device(name: Any) -> None:
        raise RuntimeError(f"{NAME} is not here")  # a file is loaded to it

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        pass

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16]


def _saved(save: Any, content: Any, file: Any) -> None:
    """`torch.save`, which notes down where tensors were: to be loaded they must be mapped to a device that is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: f"{NAME}:0")
        save(tree_map(_inner, content), file)


@cache
def _register() -> None:
    backend_registration._setup_privateuseone_for_python_backend(NAME, Module)  # type: ignore[arg-type]


@contextmanager
def second_device() -> Iterator[str]:
    """Within it there is a device of this name."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this version of PyTorch has no devices in Python")
    _register()
    with pytest.MonkeyPatch.context() as patch:
        # Tensors of inference mode cannot be wrapped: their views want to share a version counter that they do not have.
        guards: list[torch.no_grad] = []

        def enter(_: Any) -> None:
            guards.append(torch.no_grad())
            guards[-1].__enter__()

        patch.setattr(torch.inference_mode, "__enter__", enter)
        patch.setattr(torch.inference_mode, "__exit__", lambda _, *error: guards.pop().__exit__(*error))
        patch.setattr(torch, "save", partial(_saved, torch.save))
        with _Made(), _Dispatched():
            yield NAME
