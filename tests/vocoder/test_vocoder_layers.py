"""Layers that are written for speed against the plain ones, and the mel bins that they read."""

import numpy as np
import pytest
import torch
from torch import nn

from specdiffd.base.formats import FORMATS, NO_GUIDE, GuideBin, MelFormat
from specdiffd.dsp.mel import centres_hz
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.frames import (
    ELAPSED_SHARE,
    FRAME_FIELDS,
    LOG_MEL,
    ONSET_PLACE,
    ONSET_SHARE,
    PARTIAL_DISTANCE,
    PARTIAL_LOG_AMPLITUDE,
    guided_frames,
    silent_frames,
)
from specdiffd.vocoder.layers import CausalConv, ConvNextBlock, over_bins
from specdiffd.vocoder.mel_grid import mel_grid


@pytest.mark.parametrize(("width", "kernel", "frames"), [(1, 1, 1), (5, 3, 1), (8, 7, 11)])
def test_shifted_products_are_a_depthwise_convolution(width: int, kernel: int, frames: int) -> None:
    torch.manual_seed(width)
    conv, x = CausalConv(width, kernel), torch.randn(2, frames + kernel - 1, width)
    nn.init.normal_(conv.bias)
    plain = nn.functional.conv1d(x.transpose(1, 2), conv.weight.T[:, None], conv.bias, groups=width).transpose(1, 2)
    assert conv(x).shape == (2, frames, width)
    torch.testing.assert_close(conv(x), plain)


@pytest.mark.parametrize("sizes", [(13,), (1,) * 13, (6, 1, 6), (2, 11)])
def test_a_block_in_pieces_is_the_whole(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    block, context = ConvNextBlock(6, 4), 3
    x = torch.randn(1, context + sum(sizes), 6)
    whole = block(x[:, context:], x[:, :context])
    pieces, at = [], context
    for size in sizes:
        pieces.append(block(x[:, at : at + size], x[:, at - context : at]))
        at += size
    torch.testing.assert_close(torch.cat(pieces, 1), whole)


def test_a_block_sees_nothing_that_comes_later() -> None:
    torch.manual_seed(0)
    block, past, x = ConvNextBlock(6, 4), torch.zeros(1, 3, 6), torch.randn(1, 9, 6)
    changed = x.clone()
    changed[:, 5:] += 1
    before, after = block(x, past), block(changed, past)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5], after[:, 5])


@pytest.mark.parametrize(("bins", "count"), [(1, 4), (3, 5), (7, 9)])
def test_a_layer_over_bins_reads_each_with_its_neighbours(bins: int, count: int) -> None:
    """Beyond the ends there are zeros."""
    torch.manual_seed(bins)
    inputs, outputs, side = 4, 3, bins // 2
    linear, x = nn.Linear(inputs * bins, outputs), torch.randn(2, 3, count, inputs)
    found = over_bins(linear, x, bins)
    padded = nn.functional.pad(x, (0, 0, side, side))
    for m in range(count):
        beside = padded[:, :, m : m + bins].transpose(2, 3).flatten(2)  # each input's neighbours together
        torch.testing.assert_close(found[:, :, m], linear(beside), atol=1e-5, rtol=1e-5)


def config_of(fmt: MelFormat) -> VocoderConfig:
    return VocoderConfig(fmt.sample_rate_hz, fmt.hop_samples, fmt.mel_bins, fmt.low_hz, fmt.high_hz)


@pytest.mark.parametrize("name", FORMATS)
def test_the_grid_is_that_of_the_mel_front_end(name: str) -> None:
    fmt = FORMATS[name]
    grid = mel_grid(config_of(fmt))
    np.testing.assert_allclose(grid.centre_hz.numpy(), centres_hz(fmt), rtol=1e-9)
    assert grid.edges_hz[0] == pytest.approx(fmt.low_hz, abs=1e-9)
    assert float(grid.edges_hz[-1]) == pytest.approx(fmt.high_hz)


@pytest.mark.parametrize("name", FORMATS)
def test_triangles_widen_upwards_and_are_one_step_apart(name: str) -> None:
    grid = mel_grid(config_of(FORMATS[name]))
    assert bool((grid.half_width_hz.diff() > 0).all())
    logs = torch.log1p(grid.edges_hz / 700)
    np.testing.assert_allclose(logs.diff().numpy(), grid.step, rtol=1e-6)


def test_silent_frames_say_nothing_of_a_score() -> None:
    config = VocoderConfig(mel_bins=5)
    frames = silent_frames(config, 2, 3, torch.device("cpu"))
    assert frames.shape == (2, 3, 5, FRAME_FIELDS)
    assert (frames[..., LOG_MEL] == config.log_floor).all()
    assert torch.equal(frames[..., 1:], torch.tensor(NO_GUIDE).expand(2, 3, 5, -1))


def test_a_frame_is_its_mel_and_its_guide() -> None:
    config, mel, guide = VocoderConfig(mel_bins=5), torch.randn(1, 4, 5), torch.randn(1, 4, 5, len(NO_GUIDE))
    frames = guided_frames(config, mel, guide)
    assert torch.equal(frames[..., LOG_MEL], mel)
    assert torch.equal(frames[..., PARTIAL_DISTANCE:], guide)
    assert torch.equal(guided_frames(config, mel, None)[..., 1:], torch.tensor(NO_GUIDE).expand(1, 4, 5, -1))


def test_fields_lie_where_the_guide_has_them() -> None:
    fields = (PARTIAL_DISTANCE, PARTIAL_LOG_AMPLITUDE, ELAPSED_SHARE, ONSET_SHARE, ONSET_PLACE)
    names = ("offset_bins", "log_amplitude", "sounding_share", "onset_share", "onset_place")
    assert [GuideBin._fields[field - 1] for field in fields] == list(names)
    assert len(GuideBin._fields) + 1 == FRAME_FIELDS


def test_sizes_follow_from_the_hop() -> None:
    config = VocoderConfig(hop_samples=960, subframes=4, gates=4)
    assert (config.sub_hop_samples, config.fft_size, config.noise_bins, config.envelope_points) == (240, 960, 481, 16)
    assert config.guided == slice(3, 6)
    assert config.guided.stop - config.guided.start == config.guide_frames
