"""The interface between networks and what runs them.

A network's arithmetic is in a few pure functions of tensors, such as `Decoder.lower` and `Vocoder.read`; caches, masks and positions are
computed outside of them. The network describes each function as a `Kernel` and calls it through the `Backend` that it was made with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

Function = Callable[..., tuple[Tensor, ...]]  # of a module and tensors
Sizes = Mapping[str, tuple[int, ...] | int]  # by name: the sizes to compile for, ascending; or a number: one graph takes its multiples
Report = Callable[[str], object]


class Input(NamedTuple):
    """Shape and padding of one argument of a kernel."""

    shape: tuple[int | str, ...]  # a name stands for a size that varies from call to call
    fill: float = 0.0  # of the padding
    exact: bool = False  # float32, whatever the kernel's dtype
    masked: bool = False  # the padding may have any values, since another argument masks it

    @property
    def axes(self) -> dict[int, str]:
        """Names of the sizes that vary, by axis."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}


class Kernel(NamedTuple):
    """A pure function of a module's weights and of tensors, and the shapes and types that a compiler needs."""

    function: Function
    module: nn.Module
    dtype: torch.dtype  # of arguments, results and computation: float32 or bfloat16
    inputs: tuple[Input, ...]
    outputs: tuple[Mapping[int, str], ...]  # for each result, the axes that are as long as a size of the inputs
    sizes: Sizes  # of the names in the inputs' shapes


class Backend(Protocol):
    """Runs the kernels of networks."""

    @property
    def loops(self) -> bool:
        """Whether signal processing may run as compiled loops, which need tensors of the CPU and have no gradients."""

    @property
    def missed(self) -> int:
        """Calls with sizes that nothing was compiled for, which are slow."""

    def add(self, kernels: Sequence[Kernel]) -> None:
        """Get ready to run these kernels with the weights that their modules have now."""

    def run(self, function: Function, module: nn.Module, *arguments: Tensor) -> tuple[Tensor, ...]:
        """The results of ``function(module, *arguments)``. They may lie in memory that the next run of it overwrites."""

    def warm_up(self, report: Report) -> None:
        """Do the work that the first calls would wait for. ``report`` is called with the name of each piece before it begins."""
