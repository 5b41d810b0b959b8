"""PyTorch as a backend, operation by operation: to train, and to play on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from specdiffd.backends.base import Function, Kernel, Report


@dataclass(frozen=True)
class Eager:
    """Calls the functions directly.

    Args:
        loops: signal processing runs as compiled loops; only for networks on a CPU that are not trained.
    """

    loops: bool = False
    missed: int = 0

    def add(self, kernels: Sequence[Kernel]) -> None:
        """Nothing to do."""

    def run(self, function: Function, module: nn.Module, *arguments: Tensor) -> tuple[Tensor, ...]:
        """The results of ``function(module, *arguments)``, with gradients where PyTorch records them."""
        return function(module, *arguments)

    def warm_up(self, report: Report) -> None:
        """Nothing to do."""


EAGER = Eager()  # for networks that are trained, on any device
