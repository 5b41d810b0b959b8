"""Graphs compute what PyTorch does, whatever is padded."""

import copy
import os

import pytest
import torch
from conftest import small_instrument
from torch import Tensor, nn

from specdiffd.backends.base import Input, Kernel
from specdiffd.backends.eager import EAGER
from specdiffd.backends.openvino import Graph, OpenVino
from specdiffd.base.events import Performance
from specdiffd.base.instrument import render
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.instruments.loading import load_instrument

HALF = torch.bfloat16


def close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    tolerance = 1e-4 if dtype == torch.float32 else 0.03
    return found.shape == expected.shape and bool((found - expected).abs().max() <= tolerance * (1 + expected.abs().max()))


def through_graphs(parts: int = 1, dtype: torch.dtype = torch.float32) -> SpectrogramInstrument:
    """The small instrument, as it plays."""
    backend = OpenVino(1)
    made = small_instrument(backend=backend)
    for network in (made.notes_encoder, made.context_encoder, made.decoder):
        network.to(dtype)
    made.vocoder.use(dtype)
    backend.add(made.networks.kernels(parts))
    return made.with_settings()  # its tables in the new precision


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return x @ self.weight, y.sum(0)


def product(dtype: torch.dtype = torch.float32) -> tuple[Product, Graph]:
    """There are graphs of four and of six rows."""
    module, inputs = Product(), (Input(("rows", 3)), Input(("rows", 5)))
    return module.to(dtype), Graph(Kernel(Product.forward, module, dtype, inputs, ({0: "rows"}, {}), {"rows": (4, 6)}), 1)


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("rows", [1, 3, 4, 5])  # exact, or padded
def test_a_graph_is_its_function(rows: int, dtype: torch.dtype) -> None:
    module, graph = product(dtype)
    x, y = torch.randn(rows, 3, dtype=dtype), torch.randn(rows, 5, dtype=dtype)
    with torch.inference_mode():
        found, total = (result.clone().float() for result in graph(x, y))
    assert close(found, (x @ module.weight).detach().float(), dtype)
    assert close(total, y.float().sum(0), dtype)


@pytest.mark.usefixtures("graphs_may_be_missed")
def test_what_no_graph_takes_is_computed_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    module, graph = product()
    x, y = torch.randn(9, 3), torch.randn(9, 5)
    graph(x[:4], y[:4])
    assert (graph.missed, caplog.messages) == (0, [])
    for _ in range(3):
        assert torch.allclose(graph(x, y)[0], x @ module.weight)
    assert graph.missed == 3
    assert caplog.messages == ["Product: no graph takes arguments of sizes (9, 3), (9, 5), they are computed slowly"]


def test_what_no_graph_takes_is_an_error_in_tests() -> None:
    with pytest.raises(AssertionError, match="no graph takes arguments"):
        product()[1](torch.randn(9, 3), torch.randn(9, 5))


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
def test_an_instrument_sounds_the_same_through_graphs(performance: Performance, dtype: torch.dtype) -> None:
    plain, fast = small_instrument(), through_graphs(dtype=dtype)
    heard: list[Tensor] = []
    for instrument in (plain, fast):
        state, mels = instrument.start(0, 1), []
        for at, frames in ((0, 16), (16, 16), (32, 5), (37, 40), (77, 24), (101, 16)):
            rendered, state = render(instrument, [performance], state, at, frames)
            assert rendered.mel is not None
            mels.append(rendered.mel.clone())
        back, _ = render(instrument, [performance], state, 90, 16)
        assert back.mel is not None
        heard.append(torch.cat((*mels, back.mel), 1))
    assert close(heard[1], heard[0], dtype)


def test_nothing_is_reported_to_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's own converter sends its telemetry from a forked process."""

    def refuse() -> int:
        raise AssertionError("a process was forked")

    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr("openvino_telemetry.Telemetry.__init__", lambda *_, **__: refuse())
    through_graphs()


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_and_stretches_of_any_length_have_graphs(performance: Performance, parts: int) -> None:
    """Up to the window's roll, with context, in stretches shorter and longer than the graphs' sizes."""
    plain, fast = small_instrument(), through_graphs(parts)
    scores = [Performance(performance.notes[k::parts], performance.controllers) for k in range(parts)]
    heard = []
    for instrument in (plain, fast):
        state, mels = instrument.start(0, parts), []
        for at, frames in ((0, 200), (200, 10), (210, 65), (275, 1)):
            rendered, state = render(instrument, scores, state, at, frames)
            assert rendered.mel is not None
            mels.append(rendered.mel.clone())
        heard.append(torch.cat(mels, 1))
    assert heard[0].shape[0] == parts
    assert close(heard[1], heard[0], torch.float32)


@pytest.mark.usefixtures("graphs_may_be_missed")
def test_other_parts_than_graphs_were_made_for_are_counted(performance: Performance) -> None:
    plain, fast = small_instrument(), through_graphs(2)
    mels = [render(i, [performance], i.start(0, 1), 0, 16)[0].mel for i in (plain, fast)]
    assert torch.allclose(*mels, atol=1e-5)  # type: ignore[arg-type]
    assert fast.without_graph >= 4


def test_an_instrument_is_made_for_its_parts(performance: Performance) -> None:
    loaded = load_instrument("builtin", parts=2)
    loaded.warm_up()
    render(loaded, [performance] * 2, loaded.start(0, 2), 0, 100)
    assert loaded.without_graph == 0


def test_warming_up_makes_every_graph() -> None:
    backend = through_graphs().backend
    assert isinstance(backend, OpenVino)
    for graph in backend._graphs.values():
        graph.warm_up()
        made = copy.copy(graph._requests)
        graph.warm_up()
        assert graph._requests == made
        assert made


def test_a_network_without_a_backend_runs_as_it_is() -> None:
    """A network that is trained has gradients, and uses no loops."""
    module, x, y = Product(), torch.randn(3, 3), torch.randn(3, 5)
    product, _ = EAGER.run(Product.forward, module, x, y)
    product.sum().backward()
    assert module.weight.grad is not None
    assert (EAGER.loops, EAGER.missed) == (False, 0)


def test_what_was_not_added_is_refused() -> None:
    with pytest.raises(KeyError):
        OpenVino(1).run(Product.forward, Product(), torch.zeros(1, 3), torch.zeros(1, 5))
