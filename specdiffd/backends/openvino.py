"""OpenVINO as a backend, to play on a CPU.

A revision is hundreds of small operations, and PyTorch takes longer to call them than to compute them. A graph is one call.

Graphs of fixed sizes are the fastest. So there are graphs of a few sizes, each compiled when it is first needed, and a call is padded to
the next larger one. Masks and causality keep the padding out of the results. The batch is not padded, since every part takes its full time.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.backends.base import Function, Input, Kernel, Report

log = logging.getLogger(__name__)
Numbers = Mapping[str, int]  # the sizes of one call, by name


class OpenVino:
    """Runs each kernel as graphs.

    Args:
        threads: for computation.
    """

    loops = True

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._graphs: dict[tuple[nn.Module, Function], Graph] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> OpenVino:
        """Itself: a network is copied for tracing, and the copy needs no backend."""
        return self

    @property
    def missed(self) -> int:
        """Calls for which no graph was large enough."""
        return sum(graph.missed for graph in self._graphs.values())

    def add(self, kernels: Sequence[Kernel]) -> None:
        """Trace the kernels with the weights that their modules have now."""
        for kernel in kernels:
            self._graphs[kernel.module, kernel.function] = Graph(kernel, self._threads)

    def run(self, function: Function, module: nn.Module, *arguments: Tensor) -> tuple[Tensor, ...]:
        """The results of ``function(module, *arguments)``, in memory that the next run of it overwrites.

        Raises:
            KeyError: no such kernel was added.
        """
        return self._graphs[module, function](*arguments)

    def warm_up(self, report: Report) -> None:
        """Compile the graphs of all sizes."""
        for number, graph in enumerate(self._graphs.values(), 1):
            report(f"making graph {number} of {len(self._graphs)}")
            graph.warm_up()


class Graph:
    """One kernel, compiled for each of its sizes.

    If no graph is large enough, PyTorch computes the call, sometimes much more slowly. This is counted, and logged the first time.

    Attributes:
        missed: calls for which no graph was large enough.
    """

    def __init__(self, kernel: Kernel, threads: int) -> None:
        import openvino

        self._openvino: Any = openvino
        self._kernel, self._axes = kernel, [given.axes for given in kernel.inputs]
        self._fixed = [
            (k, axis, size) for k, given in enumerate(kernel.inputs) for axis, size in enumerate(given.shape) if isinstance(size, int)
        ]
        self._half = kernel.dtype == torch.bfloat16
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self._half else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._model = _in_bfloat16(_converted(kernel), kernel) if self._half else _converted(kernel)
        self._requests: dict[tuple[int, ...], Any] = {}
        self.missed = 0

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """The kernel's results: views of memory that the next call overwrites."""
        sizes: dict[str, int] = {}
        for axes, x in zip(self._axes, arguments, strict=True):
            sizes.update({name: x.shape[axis] for axis, name in axes.items()})
        padded = self._padded_sizes(sizes)
        if padded is None or any(arguments[k].shape[axis] != size for k, axis, size in self._fixed):
            return self._without(arguments)
        request = self._request(padded)
        inputs = [_padded(x, given, padded) for x, given in zip(arguments, self._kernel.inputs, strict=True)]
        for k, x in enumerate(inputs):
            request.set_input_tensor(k, self._shared(x))
        request.infer()
        return tuple(self._result(request, k, sizes) for k in range(len(self._kernel.outputs)))

    def warm_up(self) -> None:
        """Compile the graphs of all sizes and run each once, since the first run is slow."""
        names, choices = self._kernel.sizes.keys(), self._kernel.sizes.values()
        for combination in itertools.product(*((x,) if isinstance(x, int) else x for x in choices)):
            self(*_zeros(self._kernel, dict(zip(names, combination, strict=True)), self._kernel.dtype))

    def _without(self, arguments: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """A call for which no graph is large enough, by PyTorch."""
        self.missed += 1
        module = self._kernel.module
        if self.missed == 1:
            sizes = ", ".join(str(tuple(x.shape)) for x in arguments)
            log.warning("%s: no graph takes arguments of sizes %s, they are computed slowly", type(module).__name__, sizes)
        return self._kernel.function(module, *arguments)

    def _padded_sizes(self, sizes: Numbers) -> dict[str, int] | None:
        """The next larger sizes of a graph; None if there are none."""
        padded: dict[str, int] = {}
        for name, size in sizes.items():
            choices = self._kernel.sizes[name]
            if isinstance(choices, int):
                padded[name] = max(1, -(-size // choices)) * choices
                continue
            fitting = next((choice for choice in choices if choice >= size), None)
            if fitting is None:
                return None
            padded[name] = fitting
        return padded

    def _request(self, sizes: Numbers) -> Any:
        """The graph of these sizes, compiled at the first request. A size given as a multiple stays dynamic."""
        fixed = {name: size for name, size in sizes.items() if not isinstance(self._kernel.sizes[name], int)}
        key = tuple(fixed.values())
        if key not in self._requests:
            model, open_ = self._model.clone(), dict.fromkeys(sizes, -1)
            shapes = [_sized(given, {**open_, **fixed}) for given in self._kernel.inputs]
            model.reshape({port: self._openvino.PartialShape(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
            self._requests[key] = self._openvino.Core().compile_model(model, "CPU", self._settings).create_infer_request()
        return self._requests[key]

    def _shared(self, x: Tensor) -> Any:
        """An OpenVINO tensor of the same memory, which must stay alive: only its address is kept. NumPy has no bfloat16."""
        if x.dtype != torch.bfloat16:
            return self._openvino.Tensor(x.numpy(), shared_memory=True)
        return self._openvino.Tensor(x.view(torch.int16).numpy(), self._openvino.Shape(x.shape), self._openvino.Type.bf16)

    def _result(self, request: Any, k: int, sizes: Numbers) -> Tensor:
        """Result ``k`` without its padding."""
        result = torch.from_numpy(request.get_output_tensor(k).data)
        result = result.view(torch.bfloat16) if self._half else result
        for axis, name in self._kernel.outputs[k].items():
            result = result.narrow(axis, 0, sizes[name])
        return result


def _converted(kernel: Kernel) -> Any:
    """The kernel as an OpenVINO model, in float32, with dynamic sizes."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    sizes = {name: size if isinstance(size, int) else size[0] for name, size in kernel.sizes.items()}
    traceable = _Traceable(copy.deepcopy(kernel.module).float(), kernel.function)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns that fixed sizes become part of the graph
        traced = torch.jit.trace(traceable, _zeros(kernel, sizes, torch.float32), check_trace=False)
        # Not openvino.convert_model: it reports its use to Google Analytics from a forked process.
        # The frontend holds no reference to the decoder that it converts, so the decoder must stay in a variable.
        decoder, frontend = TorchScriptPythonDecoder(traced), FrontEndManager().load_by_framework("pytorch")
        return frontend.convert(frontend.load(decoder))


def _in_bfloat16(model: Any, kernel: Kernel) -> Any:
    """The model with arguments and results in bfloat16, except for exact arguments."""
    from openvino import Type
    from openvino.preprocess import PrePostProcessor

    typed = PrePostProcessor(model)
    for k in (k for k, given in enumerate(kernel.inputs) if not given.exact):
        typed.input(k).tensor().set_element_type(Type.bf16)
    for k in range(len(model.outputs)):
        typed.output(k).tensor().set_element_type(Type.bf16)
    return typed.build()


def _sized(given: Input, sizes: Numbers) -> list[int]:
    """The shape of an argument of these sizes."""
    return [sizes[size] if isinstance(size, str) else size for size in given.shape]


def _zeros(kernel: Kernel, sizes: Numbers, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Zero arguments of these sizes."""
    return tuple(torch.zeros(_sized(given, sizes), dtype=torch.float32 if given.exact else dtype) for given in kernel.inputs)


def _padded(x: Tensor, given: Input, sizes: Numbers) -> Tensor:
    """An argument, padded at the end of each axis that varies."""
    shape = _sized(given, sizes)
    if given.masked and x.stride() == tuple(math.prod(shape[axis + 1 :]) for axis in range(x.ndim)):
        return x.as_strided(shape, x.stride())  # the first rows of a buffer of this shape (diffusion.caches.Growing)
    padding = [end for size, wide in zip(reversed(x.shape), reversed(shape), strict=True) for end in (0, wide - size)]
    return (F.pad(x, padding, value=given.fill) if any(padding) else x).contiguous()


class _Traceable(nn.Module):
    """A function of a module, in the form that the tracer needs."""

    def __init__(self, module: nn.Module, function: Function) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        return self.function(self.module, *arguments)
