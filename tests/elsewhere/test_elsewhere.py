"""Whatever runs on a GPU runs on one: tensors of the CPU do not get among its own. Where there is none: `device`; on one: make test-gpu.

In a process of its own (`test_devices`): with its first backward pass PyTorch starts a thread for each device that it knows, and for none
that comes later.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_instrument
from device import Module, second_device

from specdiffd.base.events import Event, Performance
from specdiffd.base.instrument import RenderSettings, render
from specdiffd.bench.latency import bench_latency
from specdiffd.bench.networks import bench_decoder, bench_vocoder
from specdiffd.evaluate.rendering import copy_synthesis, model_mel, timed_rendering
from specdiffd.instruments.loading import load_builtin_family, load_instrument
from specdiffd.instruments.published import PublishedInstrument
from specdiffd.midi.published import published_performance
from specdiffd.player.settings import EngineSettings
from specdiffd.train.loop import STATE, read_state
from specdiffd.train.stages import STAGES, train

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture(params=["elsewhere", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no GPU")
        yield "cuda"
        return
    with second_device() as name:
        yield name


@pytest.fixture
def elsewhere() -> Iterator[str]:
    with second_device() as name:
        yield name


# -- the device itself -------------------------------------------------------------------------------------------


def test_what_would_fail_on_a_gpu_fails_there(elsewhere: str) -> None:
    there, here = torch.ones(3, device=elsewhere), torch.ones(3)
    assert (there + 1).device.type == (there + torch.tensor(1.0)).device.type == elsewhere
    assert torch.equal((there + here.to(elsewhere)).cpu(), 2 * here)
    assert there[torch.tensor([0, 2])].shape == (2,)
    wrong = (
        lambda: there + here,
        lambda: torch.cat((there, here)),
        lambda: here[there.long()],
        lambda: torch.nn.Linear(3, 1).to(elsewhere)(here),
        lambda: there.numpy(),
        lambda: there.double(),
    )
    for call in wrong:
        with pytest.raises((RuntimeError, TypeError)):
            call()


def test_it_learns(elsewhere: str) -> None:
    layer = torch.nn.Linear(2, 1).to(elsewhere)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        loss = (layer(torch.ones(4, 2, device=elsewhere)) - 3).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


# -- playing -----------------------------------------------------------------------------------------------------


def test_the_instrument_sounds_alike(device: str, performance: Performance) -> None:
    there, here = (small_instrument(device=name) for name in (device, "cpu"))
    there.warm_up()
    found = [render(i, [performance] * 2, i.start(0, 2), 0, 100)[0] for i in (there, here)]
    assert there.device.type == device
    mels = [r.mel.cpu() for r in found if r.mel is not None]
    assert torch.allclose(*mels, atol=1e-4 if device == "elsewhere" else 0.02)  # type: ignore[arg-type]  # a GPU's convolutions have ten bits
    difference = found[0].audio - found[1].audio
    assert difference.std() < 0.02 * found[1].audio.std()  # here oscillators and levels are loops


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "dpmsolver++"])
def test_published_checkpoints_sound_alike(device: str, scheduler: str) -> None:
    song = published_performance(GOLDENS / "songs" / "edge1.mid")
    found = []
    for name in (device, "cpu"):
        settings = RenderSettings(steps=2, scheduler=scheduler, guidance=2.0)
        instrument = load_instrument(str(GOLDENS / "checkpoints" / "narrow"), name, "float32", settings)
        assert isinstance(instrument, PublishedInstrument)
        offline = next(instrument.song(song))
        state = instrument.start(0, 1)
        for at in (0, 10):
            live, state = render(instrument, [song], state, at, 20)
        found.append((offline.mel.numpy(), offline.audio.numpy(), live.audio))
    for there, here in zip(*found, strict=True):
        assert np.abs(there - here).max() < 0.02 * np.abs(here).max()


# -- measuring ---------------------------------------------------------------------------------------------------


def test_what_evaluation_renders(device: str, events: list[Event], performance: Performance) -> None:
    instrument = small_instrument(device=device)
    audio, _ = timed_rendering(instrument, events, 1.5)
    assert np.abs(audio).max() > 1e-3
    for score in (None, performance):
        assert np.abs(copy_synthesis(instrument, audio, score)).max() > 1e-4
    assert model_mel(instrument, events, 50).shape == (50, instrument.format.mel_bins)


@pytest.mark.parametrize(
    "bench", [partial(bench_decoder, frames=24, repeats=5), partial(bench_vocoder, frames=26, repeats=5), partial(bench_latency, settings=EngineSettings(), revisions=5, polyphony=2)]
)  # fmt: skip
def test_benches_wait_for_the_device(device: str, bench: Any) -> None:
    before = Module.settled
    figures: dict[str, Any] = bench(small_instrument(device=device))
    if device == "elsewhere":
        assert Module.settled - before >= 10
    assert figures["machine"]["device"] == ("elsewhere:0" if device == "elsewhere" else torch.cuda.get_device_name())


# -- training ----------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_oscillators(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler knows the second device."""
    monkeypatch.setattr("specdiffd.train.vocoder.compiled_oscillators", lambda device: nullcontext())


@pytest.mark.usefixtures("plain_oscillators")
def test_what_was_trained_there_goes_on_here(tmp_path: Path) -> None:
    """Every stage that has a device; what it saves says where its tensors were, where there is nothing here."""
    stages = [stage for stage in STAGES if stage != "colours"]
    with second_device() as device:
        train(tmp_path, stages, [], minutes=0.02, pieces=1, batch=1, adversarial_from=0.0, device=device)
    with pytest.raises(RuntimeError, match="elsewhere is not here"):
        torch.load(tmp_path / "prior" / STATE, weights_only=True)
    for stage in stages:
        before = read_state(tmp_path / stage / STATE)
        checkpoint = train(tmp_path, [stage], [], minutes=before["used_s"] / 60 + 0.001, pieces=1, batch=1, adversarial_from=0.0)
        assert read_state(tmp_path / stage / STATE)["step"] > before["step"] > 0
    assert load_builtin_family(str(checkpoint)).device.type == "cpu"
