"""Networks as OpenVINO graphs: what plays on a CPU.

A revision is hundreds of small operations, and PyTorch spends more time on calling them than they take. A graph is one
call. It computes a pure function of tensors (`Decoder.lower`, `NotesEncoder.encode`, `Vocoder.read` ...); whatever
streams stays outside, so that the same code runs with and without.

Graphs of one size are the fastest, so sizes are rounded up to a few, each with a graph of its own, made when it is first
needed. Masks and causality keep the padding from being heard. The batch is that of the example, without padding: a part
more is a part more to compute.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Function = Callable[..., tuple[Tensor, ...]]
log = logging.getLogger(__name__)


class Input(NamedTuple):
    """How an argument may vary."""

    axes: Mapping[int, str]  # the sizes that vary, by name
    fill: float = 0.0  # what padding is filled with
    exact: bool = False  # float32 in any case
    masked: bool = False  # no matter what is in the padding: another argument masks it


class Graph:
    """A function of tensors, run by OpenVINO.

    Where there is no graph of the size, PyTorch computes it, some times more slowly: that is counted, and logged the first time.

    Args:
        module: owns the weights.
        dtype: of arguments, results and computation: float32 or bfloat16.
        function: of the module and tensors to tensors.
        example: arguments that it can be traced with; sizes that do not vary are theirs.
        inputs: how each argument may vary.
        outputs: of each result, the sizes that are cut back to those of the arguments, by name.
        sizes: by name the sizes that there are graphs of, ascending; or a number whose multiples all graphs take, with
            some loss of time at each change.
        threads: that compute.

    Attributes:
        missed: how many calls there was no graph for.

    Calling it returns views of memory that the next call overwrites.
    """

    def __init__(
        self,
        module: nn.Module,
        dtype: torch.dtype,
        function: Function,
        example: Sequence[Tensor],
        inputs: Sequence[Input],
        outputs: Sequence[Mapping[int, str]],
        sizes: Mapping[str, Sequence[int] | int],
        threads: int,
    ) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        self._module, self._function = module, function
        self._inputs, self._outputs, self._sizes = tuple(inputs), tuple(outputs), dict(sizes)
        self._dtype, self._half = dtype, dtype == torch.bfloat16
        self._openvino: Any = openvino
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, on sizes that become part of the graph: those do not vary
            traced = torch.jit.trace(_Function(copy.deepcopy(module).float(), function), tuple(example), check_trace=False)
            # not by openvino.convert_model, which reports its use to Google Analytics from a forked process
            decoder, frontend = TorchScriptPythonDecoder(traced), FrontEndManager().load_by_framework("pytorch")
            model = frontend.convert(frontend.load(decoder))
        if self._half:
            typed = openvino.preprocess.PrePostProcessor(model)
            for k in (k for k, given in enumerate(self._inputs) if not given.exact):
                typed.input(k).tensor().set_element_type(openvino.Type.bf16)
            for k in range(len(model.outputs)):
                typed.output(k).tensor().set_element_type(openvino.Type.bf16)
            model = typed.build()
        self._model = model
        self.missed = 0
        self._shapes = [tuple(x.shape) for x in example]
        self._fixed = [
            (k, axis, size)
            for k, (shape, given) in enumerate(zip(self._shapes, self._inputs, strict=True))
            for axis, size in enumerate(shape)
            if axis not in given.axes
        ]
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self._half else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._requests: dict[tuple[int, ...], Any] = {}

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Results of the sizes that the arguments ask for."""
        sizes: dict[str, int] = {}
        for given, x in zip(self._inputs, arguments, strict=True):
            sizes.update({name: x.shape[axis] for axis, name in given.axes.items()})
        rounded = {name: self._rounded(name, size) for name, size in sizes.items()}
        if None in rounded.values() or any(arguments[k].shape[axis] != size for k, axis, size in self._fixed):
            return self._without(arguments)
        request = self._request({name: size for name, size in rounded.items() if size is not None})
        padded = [_padded(x, given, rounded) for x, given in zip(arguments, self._inputs, strict=True)]
        for k, x in enumerate(padded):
            request.set_input_tensor(k, self._shared(x))
        request.infer()
        results = []
        for k, cuts in enumerate(self._outputs):
            result = torch.from_numpy(request.get_output_tensor(k).data)
            result = result.view(torch.bfloat16) if self._half else result
            for axis, name in cuts.items():
                result = result.narrow(axis, 0, sizes[name])
            results.append(result)
        return tuple(results)

    def _without(self, arguments: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What there is no graph for, by PyTorch."""
        self.missed += 1
        if self.missed == 1:
            sizes = ", ".join(str(tuple(x.shape)) for x in arguments)
            log.warning("%s: no graph takes arguments of sizes %s, they are computed slowly", type(self._module).__name__, sizes)
        return self._function(self._module, *arguments)

    def _shared(self, x: Tensor) -> Any:
        """The same memory, of which it keeps the address only, as OpenVINO's tensor; NumPy knows no bfloat16."""
        if x.dtype != torch.bfloat16:
            return self._openvino.Tensor(x.numpy(), shared_memory=True)
        return self._openvino.Tensor(x.view(torch.int16).numpy(), self._openvino.Shape(x.shape), self._openvino.Type.bf16)

    def warm_up(self) -> None:
        """Make the graphs of all sizes, and run each once: the first time is a slow one."""
        names = list(self._sizes)
        choices = [[size] if isinstance(size, int) else size for size in self._sizes.values()]
        for combination in itertools.product(*choices):
            sizes = dict(zip(names, combination, strict=True))
            arguments = []
            for shape, given in zip(self._shapes, self._inputs, strict=True):
                sized = [sizes[given.axes[axis]] if axis in given.axes else size for axis, size in enumerate(shape)]
                arguments.append(torch.zeros(sized, dtype=torch.float32 if given.exact else self._dtype))
            self(*arguments)

    def _rounded(self, name: str, size: int) -> int | None:
        choices = self._sizes[name]
        if isinstance(choices, int):
            return max(1, -(-size // choices)) * choices
        return next((choice for choice in choices if choice >= size), None)

    def _request(self, sizes: Mapping[str, int]) -> Any:
        """The graph of these sizes."""
        fixed = {name: size for name, size in sizes.items() if not isinstance(self._sizes[name], int)}
        key = tuple(fixed.values())
        if key not in self._requests:
            model = self._model.clone()
            shapes = {}
            for port, shape, given in zip(model.inputs, self._shapes, self._inputs, strict=True):
                sized = [fixed.get(given.axes[axis], -1) if axis in given.axes else size for axis, size in enumerate(shape)]
                shapes[port] = self._openvino.PartialShape(sized)
            model.reshape(shapes)
            self._requests[key] = self._openvino.Core().compile_model(model, "CPU", self._settings).create_infer_request()
        return self._requests[key]


def _padded(x: Tensor, given: Input, sizes: Mapping[str, int | None]) -> Tensor:
    if given.masked:
        wanted = [(sizes[given.axes[axis]] or 0) if axis in given.axes else size for axis, size in enumerate(x.shape)]
        if x.stride() == tuple(math.prod(wanted[axis + 1 :]) for axis in range(x.ndim)):
            return x.as_strided(wanted, x.stride())  # it lies in a buffer of just this size (model.layers.Growing)
    padding = [0] * (2 * x.ndim)
    for axis, name in given.axes.items():
        padding[2 * (x.ndim - 1 - axis) + 1] = (sizes[name] or 0) - x.shape[axis]
    return (F.pad(x, padding, value=given.fill) if any(padding) else x).contiguous()


class _Function(nn.Module):
    """What the tracer takes."""

    def __init__(self, module: nn.Module, function: Function) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        return self.function(self.module, *arguments)


BF16_GAIN = 1.3  # units gain more than that; less may be chance, and its rounding would be for nothing


@lru_cache
def bfloat16_is_faster(device: str) -> bool:
    """Whether networks compute faster in bfloat16 on a torch device.

    A GPU of NVIDIA has units for it from compute capability 8 on, one of AMD under ROCm has them; a product that is small enough to try
    would time the launching of kernels there. Others (mps, xpu) stay with float32, in which every operation is known to work.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
    return kind == "cpu" and _processor_gains()


@torch.inference_mode()
def _processor_gains() -> bool:
    """Whether a typical matrix product is faster: measured, since processors that emulate bfloat16 are slower with it."""

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(64, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        times = []
        for _ in range(12):
            start = time.perf_counter()
            float((a @ b)[0, 0])
            times.append(time.perf_counter() - start)
        return sorted(times)[len(times) // 2]

    return BF16_GAIN * seconds(torch.bfloat16) < seconds(torch.float32)
