from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import nn

from specdiffd.base.errors import CheckpointError
from specdiffd.diffusion.config import DecoderConfig
from specdiffd.instruments.checkpoint import load_weights, read_weights, save_component
from specdiffd.instruments.layout import CONFIG, WEIGHTS, read_config


def save(folder: Path) -> nn.Linear:
    layer = nn.Linear(3, 5)
    save_component(folder, asdict(DecoderConfig(d_model=48)), layer.state_dict(), torch.float32)
    return layer


def test_round_trip(tmp_path: Path) -> None:
    layer = save(tmp_path)
    loaded = load_weights(tmp_path, lambda: nn.Linear(3, 5))
    assert torch.equal(loaded.weight, layer.weight)
    assert not loaded.weight.requires_grad
    assert read_config(tmp_path / CONFIG, DecoderConfig).d_model == 48


def test_half_precision_is_loaded_as_float32(tmp_path: Path) -> None:
    save_component(tmp_path, {}, nn.Linear(3, 5).state_dict())
    assert load_weights(tmp_path, lambda: nn.Linear(3, 5)).weight.dtype == torch.float32


def test_unknown_fields_are_ignored_and_missing_ones_take_defaults(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('{"_diffusers_version": "0.27", "num_layers": 3}')
    assert read_config(tmp_path / CONFIG, DecoderConfig) == DecoderConfig(num_layers=3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.Linear(4, 5), r"weight has shape \(5, 3\), expected \(5, 4\)"),
        (lambda: nn.Linear(3, 5, bias=False), "unknown key bias"),
        (lambda: nn.Bilinear(3, 3, 5), "weight"),
    ],
)
def test_shapes_and_keys_are_checked(tmp_path: Path, make: Callable[[], nn.Module], says: str) -> None:
    save(tmp_path)
    with pytest.raises(CheckpointError, match=says):
        load_weights(tmp_path, make)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    save_component(tmp_path, {}, {"weight": torch.zeros(5, 3)})
    with pytest.raises(CheckpointError, match=r"key bias is missing, expected with shape \(5,\)"):
        load_weights(tmp_path, lambda: nn.Linear(3, 5))


def test_truncated_files_are_named(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} is damaged"):
        load_weights(tmp_path, lambda: nn.Linear(3, 5))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} is missing"):
        load_weights(tmp_path, lambda: nn.Linear(3, 5))
    with pytest.raises(CheckpointError, match=f"{CONFIG} is missing"):
        read_config(tmp_path / CONFIG, DecoderConfig)
    (tmp_path / CONFIG).write_text("[1]")
    with pytest.raises(CheckpointError, match="expected a JSON object, found list"):
        read_config(tmp_path / CONFIG, DecoderConfig)


def test_weights_of_eight_bits_stay_so_on_disk_alone(tmp_path: Path) -> None:
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    save_component(tmp_path, {}, {"weight": weight.to(torch.float8_e4m3fn), "bias": torch.ones(3)})
    assert {k: v.dtype for k, v in read_weights(tmp_path).items()} == {"weight": torch.float8_e4m3fn, "bias": torch.float16}
    loaded = load_weights(tmp_path, lambda: nn.Linear(5, 3))
    assert loaded.weight.dtype == torch.float32
    assert torch.allclose(loaded.weight, weight, rtol=1 / 16, atol=1e-3)


def test_matrices_in_whole_numbers_are_nearly_what_they_were(tmp_path: Path) -> None:
    """A row of large weights does not make other rows less accurate; tensors that are no matrices do not change."""
    layer = nn.Linear(64, 3)
    with torch.no_grad():
        layer.weight *= torch.tensor([[1e-4], [1.0], [1e3]])
        layer.weight[1] = 0
    save_component(tmp_path, {}, layer.state_dict(), torch.float32, whole_numbers=True)
    assert read_weights(tmp_path).keys() == {"weight", "bias"}
    loaded = load_weights(tmp_path, lambda: nn.Linear(64, 3))
    assert torch.equal(loaded.bias, layer.bias)
    error = (loaded.weight - layer.weight).abs().amax(1)
    assert bool((error <= 0.51 / 127 * layer.weight.abs().amax(1)).all())
    assert (tmp_path / WEIGHTS).stat().st_size < 4 * layer.weight.numel() + 4 * layer.bias.numel()


def test_codes_are_whole_numbers_and_stay_so(tmp_path: Path) -> None:
    class Coded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("codes", torch.zeros(3, dtype=torch.uint8))

    save_component(tmp_path, {}, {"codes": torch.tensor([0, 7, 255], dtype=torch.uint8)})
    codes = load_weights(tmp_path, Coded).codes
    assert isinstance(codes, torch.Tensor)
    assert codes.dtype == torch.uint8
    assert codes.tolist() == [0, 7, 255]
    save_component(tmp_path, {}, {"codes": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"codes has values of type torch.float16, expected torch.uint8"):
        load_weights(tmp_path, Coded)
