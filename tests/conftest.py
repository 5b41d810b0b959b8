"""Instruments small enough for tests, of odd sizes."""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor

from specdiffd.backends.base import Backend
from specdiffd.backends.eager import Eager
from specdiffd.backends.openvino import Graph
from specdiffd.base.events import Event, Performance
from specdiffd.base.formats import MelFormat
from specdiffd.base.instrument import RenderSettings
from specdiffd.diffusion.config import DecoderConfig, EncoderConfig
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.encoders import ContextEncoder, NotesEncoder
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.instruments.networks import Networks
from specdiffd.io.output import Player
from specdiffd.midi.score import Score
from specdiffd.prior.config import PriorConfig
from specdiffd.prior.network import NotePrior
from specdiffd.tokens.codec import Codec
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.streaming import Vocoder

SMALL_CODEC = Codec(steps_per_second=200, max_shift_steps=1100, velocity_bins=32, program_granularity="full")


def small_instrument(
    seed: int = 0, settings: RenderSettings | None = None, device: str = "cpu", backend: Backend | None = None
) -> SpectrogramInstrument:
    """The built-in family with random weights, tamed so that they answer mildly, as trained ones do."""
    torch.manual_seed(seed)
    backend = backend or Eager(loops=device == "cpu")
    encoder = EncoderConfig(
        d_model=48, num_layers=2, num_heads=3, d_kv=16, d_ff=80, causal=True, scaled_attention=True, vocab_size=SMALL_CODEC.vocabulary_size
    )
    decoder = DecoderConfig(
        d_model=48, num_layers=2, num_heads=3, d_kv=16, d_ff=80, causal=True, scaled_attention=True, stem_channels=4, noise_scale=0.08
    )
    vocoder = VocoderConfig(width=40, blocks=2, sub_width=24, sub_blocks=1, local_width=16)
    networks = Networks(
        prior=NotePrior(PriorConfig(shapes=4, harmonics=12, width=32, frame_width=16, memory=8)).eval().to(device),
        notes_encoder=NotesEncoder(encoder, backend).eval().to(device),
        context_encoder=ContextEncoder(encoder, backend).eval().to(device),
        decoder=Decoder(decoder, backend).eval().to(device),
        vocoder=Vocoder(vocoder, backend).eval().to(device),
    )
    with torch.no_grad():
        # untrained oscillators and noise are all but silent
        networks.vocoder.local.out.bias[: vocoder.subframes] = -4.0
    return SpectrogramInstrument(MelFormat(), SMALL_CODEC, networks, settings)


@pytest.fixture(autouse=True)
def graphs_are_never_missed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is only slow when it plays is an error in tests, but for those that ask for ``graphs_may_be_missed``."""
    if "graphs_may_be_missed" not in request.fixturenames:

        def refuse(graph: Graph, arguments: Sequence[Tensor]) -> NoReturn:
            raise AssertionError(f"no graph takes arguments of sizes {[tuple(x.shape) for x in arguments]}")

        monkeypatch.setattr(Graph, "_without", refuse)


@pytest.fixture
def graphs_may_be_missed() -> None:
    """See above."""


@pytest.fixture
def instrument() -> SpectrogramInstrument:
    return small_instrument()


@pytest.fixture
def events() -> list[Event]:
    """Three seconds of two hands and a drum."""
    generator = torch.Generator().manual_seed(3)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    made = [Event(0.0, 0xC1, 40)]
    for k in range(24):
        at, pitch = 0.1 + 0.12 * k + uniform(0, 0.05), int(uniform(40, 80))
        channel = (0, 0, 1, 9)[k % 4]
        made += [Event(at, 0x90 | channel, pitch, int(uniform(30, 120))), Event(at + uniform(0.01, 0.5), 0x80 | channel, pitch, 0)]
    return sorted(made, key=lambda e: e.time_s)


@pytest.fixture
def performance(events: list[Event]) -> Performance:
    return Score().extend(events).performance


def next_block(player: Player, samples: int = 256) -> np.ndarray:
    """A copy of what a player puts out next, (samples, 2)."""
    block = player.fill(samples)
    return np.zeros((samples, 2), np.float32) if block is None else block.copy()
