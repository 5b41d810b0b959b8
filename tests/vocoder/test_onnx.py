"""Vocoders from ONNX files: what they depend on is measured, and streaming them equals running them whole."""

from pathlib import Path

import pytest
import torch
from onnx_decoder import save_decoder
from torch import Tensor

from specdiffd.base.errors import CheckpointError
from specdiffd.base.formats import MelFormat
from specdiffd.vocoder.onnx import HISTORY_FRAMES, OnnxVocoder

FORMAT = MelFormat()
HOP = FORMAT.hop_samples


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    save_decoder(path)
    return path


@pytest.fixture(scope="module")
def vocoder(path: Path) -> OnnxVocoder:
    return OnnxVocoder(path, FORMAT)


@pytest.fixture
def mel() -> Tensor:
    return -11 + 12 * torch.rand(1, 150, FORMAT.mel_bins, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("past", "future"), [(3, 2), (1, 1), (20, 1), (2, 40)])
def test_the_receptive_field_is_measured(past: int, future: int, tmp_path: Path) -> None:
    save_decoder(tmp_path / "model.onnx", past, future)
    vocoder = OnnxVocoder(tmp_path / "model.onnx", FORMAT)
    assert (vocoder.past_frames, vocoder.lookahead_frames) == (past, future)


@pytest.mark.parametrize("cuts", [(1,) * 150, (7, 1, 90, 52), (150,), (149, 1)])
def test_chunked_equals_whole(vocoder: OnnxVocoder, mel: Tensor, cuts: tuple[int, ...]) -> None:
    whole = vocoder._run(mel)
    state, at, pieces = vocoder.init_state(), 0, []
    for n in cuts:
        audio, state = vocoder.step(mel[:, at : at + n], state)
        assert audio.shape == (1, n * HOP)
        pieces.append(audio)
        at += n
    stream = torch.cat([*pieces, vocoder.finish(state)], 1)
    late = vocoder.lookahead_frames * HOP
    assert not stream[:, :late].any()
    torch.testing.assert_close(stream[:, late:], whole, atol=1e-5, rtol=0)
    assert state.frame == 150 - vocoder.lookahead_frames


@pytest.mark.parametrize("back", [1, 4, 40, HISTORY_FRAMES])
@pytest.mark.parametrize("frames", [64, 150])
def test_going_back(vocoder: OnnxVocoder, mel: Tensor, back: int, frames: int) -> None:
    astray = mel.clone()
    astray[:, frames - back :] += 1
    _, state = vocoder.step(astray[:, :frames], vocoder.init_state())
    again, end = vocoder.step(mel[:, frames - back : frames], vocoder.rewind(state, back))
    _, there = vocoder.step(mel[:, : frames - back], vocoder.init_state())
    wanted, end2 = vocoder.step(mel[:, frames - back : frames], there)
    torch.testing.assert_close(again, wanted, atol=1e-5, rtol=0)
    assert end[1:] == end2[1:]


def test_there_is_a_limit_to_going_back(vocoder: OnnxVocoder, mel: Tensor) -> None:
    _, state = vocoder.step(mel, vocoder.init_state())
    with pytest.raises(ValueError, match="cannot go back 65 frames"):
        vocoder.rewind(state, HISTORY_FRAMES + 1)


def test_another_signature_is_refused(tmp_path: Path) -> None:
    save_decoder(tmp_path / "model.onnx", name="mel")
    with pytest.raises(CheckpointError, match=r"inputs are \['mel'\], expected \['input_features'\]"):
        OnnxVocoder(tmp_path / "model.onnx", FORMAT)


def test_another_hop_is_refused(tmp_path: Path) -> None:
    save_decoder(tmp_path / "model.onnx", hop=256)
    with pytest.raises(CheckpointError, match=r"32 frames give audio of shape \(1, 8192\), expected \(1, 10240\)"):
        OnnxVocoder(tmp_path / "model.onnx", FORMAT)


def test_a_damaged_file_is_named(path: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"model\.onnx is damaged"):
        OnnxVocoder(tmp_path / "model.onnx", FORMAT)
