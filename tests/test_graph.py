"""Graphs compute what PyTorch does, whatever is padded."""

import copy
import os

import pytest
import torch
from conftest import small_instrument
from torch import Tensor, nn

from specdiffd.events import Performance
from specdiffd.graph import Graph, Input
from specdiffd.instrument import SpectrogramInstrument, render

HALF = torch.bfloat16


def close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    tolerance = 1e-4 if dtype == torch.float32 else 0.03
    return found.shape == expected.shape and bool((found - expected).abs().max() <= tolerance * (1 + expected.abs().max()))


def graphs_of(instrument: SpectrogramInstrument) -> list[Graph]:
    parts = (instrument.notes_encoder, instrument.context_encoder, instrument.decoder, instrument.vocoder)
    return [graph for part in parts for graph in part.use_graph(1)]


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return x @ self.weight, y.sum(0)


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9])  # exact, padded, and more than there is a graph for
def test_a_graph_is_its_function(rows: int, dtype: torch.dtype) -> None:
    module = Product()
    inputs = (Input({0: "rows"}), Input({0: "rows"}))
    graph = Graph(module, dtype, Product.forward, (torch.zeros(2, 3), torch.zeros(2, 5)), inputs, ({0: "rows"}, {}), {"rows": (4, 6)}, 1)
    module.to(dtype)
    x, y = torch.randn(rows, 3, dtype=dtype), torch.randn(rows, 5, dtype=dtype)
    with torch.inference_mode():
        product, total = (result.clone().float() for result in graph(x, y))
    assert close(product, (x @ module.weight).detach().float(), dtype)
    assert close(total, y.float().sum(0), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
def test_an_instrument_sounds_the_same_through_graphs(performance: Performance, dtype: torch.dtype) -> None:
    plain = small_instrument()
    fast = small_instrument()
    for part in (fast.notes_encoder, fast.context_encoder, fast.decoder):
        part.to(dtype)
    fast.vocoder.use(dtype)
    fast = fast.with_settings()  # its tables in the new precision
    graphs_of(fast)
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
    graphs_of(small_instrument())


def test_parts_fall_back_to_the_function(performance: Performance) -> None:
    """There are graphs of one part only."""
    plain, fast = small_instrument(), small_instrument()
    graphs_of(fast)
    mels = [render(i, [performance, performance], i.start(0, 2), 0, 16)[0].mel for i in (plain, fast)]
    assert mels[0] is not None
    assert mels[1] is not None
    assert torch.allclose(*mels, atol=1e-5)  # type: ignore[arg-type]


def test_warming_up_makes_every_graph() -> None:
    instrument = small_instrument()
    for graph in graphs_of(instrument):
        graph.warm_up()
        made = copy.copy(graph._requests)
        graph.warm_up()
        assert graph._requests == made
        assert made
