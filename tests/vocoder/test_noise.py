"""The noise by itself: as loud as its level and its mel allow, shaped by its envelope, a function of the absolute frame."""

import numpy as np
import pytest
import torch
from torch import Tensor

from specdiffd.base.formats import MelFormat
from specdiffd.dsp.mel import log_mel
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.heads import Heads
from specdiffd.vocoder.noise import NOISE_PERIOD_FRAMES, Noise, NoiseSource
from specdiffd.vocoder.state import VocoderState, initial_state

CONFIG, FORMAT = VocoderConfig(), MelFormat()
HOP, SUB = CONFIG.hop_samples, CONFIG.subframes


@pytest.fixture(scope="module")
def source() -> NoiseSource:
    return NoiseSource(CONFIG)


def heads_of(log_noise: Tensor, log_envelope: float | Tensor = 0.0, ceiling: float = 9.0) -> Heads:
    """Of noise alone, (1, M, noise_bins), with no onsets and a mel that permits any level unless another is asked for."""
    rows = log_noise.shape[1]
    frames = rows // SUB
    nothing = torch.zeros(1, rows, CONFIG.oscillators)
    envelope = torch.zeros(1, rows, CONFIG.envelope_points) + log_envelope
    mel = torch.full((1, frames, CONFIG.mel_bins), ceiling)
    return Heads(nothing, nothing, log_noise, envelope, torch.zeros(1, frames, CONFIG.mel_bins, 2), mel, mel)


def level(log_level: float, frames: int) -> Tensor:
    return torch.full((1, frames * SUB, CONFIG.noise_bins), log_level)


def silence(frame: int = 0) -> VocoderState:
    return initial_state(CONFIG, 1, 1, frame + CONFIG.lookahead_frames, torch.zeros(0))


def followed(noise: Noise, state: VocoderState, frames: int) -> VocoderState:
    return state._replace(noise_tail=noise.tails, frame=state.frame + frames)


def test_windows_and_tents_add_up_to_one(source: NoiseSource) -> None:
    overlapped = source.window.unflatten(0, (4, CONFIG.sub_hop_samples)).sum(0)
    torch.testing.assert_close(overlapped, torch.ones_like(overlapped))
    torch.testing.assert_close(source.tents.sum(0), torch.ones(CONFIG.fft_size))
    assert int((source.tents > 0).sum(0).max()) == 2


@pytest.mark.parametrize("log_level", [-6.0, -1.0, 0.0])
def test_noise_of_a_level_has_the_mel_that_is_said_of_it(source: NoiseSource, log_level: float) -> None:
    frames = 100
    audio = source.play(heads_of(level(log_level, frames)), silence()).audio
    measured = log_mel(audio, FORMAT)[0, 2:-2].mean(0)
    expected = torch.full_like(measured, float("nan"))
    expected[source.nearest_mel_bin] = source.log_gain + log_level
    there = ~expected.isnan() & (torch.arange(len(expected)) > 8)  # the lowest bins are narrower than what noise resolves
    assert float((measured - expected)[there].mean().abs()) < 0.1
    assert float((measured - expected)[there].abs().max()) < 0.6


@pytest.mark.parametrize("form", ["play", "synthesise"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3), (4, 1)])
def test_stretches_of_any_length_are_the_whole(source: NoiseSource, form: str, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    frames, make = sum(sizes), getattr(source, form)
    log_noise, log_envelope = torch.randn(1, frames * SUB, CONFIG.noise_bins), torch.randn(1, frames * SUB, CONFIG.envelope_points)
    whole = make(heads_of(log_noise, log_envelope), silence()).audio
    state, pieces, at = silence(), [], 0
    for size in sizes:
        rows = slice(at * SUB, (at + size) * SUB)
        made = make(heads_of(log_noise[:, rows], log_envelope[:, rows]), state)
        pieces.append(made.audio)
        state, at = followed(made, state, size), at + size
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-4 * float(whole.abs().max()), rtol=0)


def test_noise_belongs_to_the_absolute_frame(source: NoiseSource) -> None:
    whole = source.play(heads_of(level(0.0, 6)), silence()).audio[0]
    later = source.play(heads_of(level(0.0, 4)), silence(2)).audio[0]
    np.testing.assert_allclose(later[HOP:], whole[3 * HOP :], atol=1e-5)  # its first hop lacks what earlier pieces add
    again = source.play(heads_of(level(0.0, 6)), silence(NOISE_PERIOD_FRAMES)).audio[0]
    np.testing.assert_array_equal(again, whole)


def test_the_mel_limits_what_the_network_asks_for(source: NoiseSource) -> None:
    asked, limited = (source.play(heads_of(level(0.0, 4), ceiling=c), silence()).audio for c in (9.0, -3.0))
    gain_nepers = float((limited.std() / asked.std()).log())
    assert gain_nepers == pytest.approx(-3.0 + 2.3 - float(source.log_gain.mean()), abs=0.6)
    assert not source.play(heads_of(level(0.0, 4), ceiling=CONFIG.log_floor), silence()).audio.any()


def test_an_envelope_is_heard_where_its_points_lie(source: NoiseSource) -> None:
    """Of one piece alone, which rises by a factor of a hundred in its middle: the first half is softer by as much."""
    log_noise = torch.full((1, SUB, CONFIG.noise_bins), -14.0)
    log_noise[0, 0] = 2.0
    points = torch.full((CONFIG.envelope_points,), -4.6)
    points[CONFIG.envelope_points // 2 :] = 0.0
    flat, shaped = (source.play(heads_of(log_noise, e), silence()).audio[0] for e in (torch.zeros_like(points), points))
    ratio = (shaped / flat)[7::7]  # the window begins with a zero
    half = len(ratio) // 2
    assert float(ratio[: half - 6].median()) == pytest.approx(0.01, rel=0.1)
    assert float(ratio[half + 6 :].median()) == pytest.approx(1.0, rel=0.1)


def test_levels_and_envelopes_are_bounded(source: NoiseSource) -> None:
    """What a network that errs asks for is no more than the bounds."""
    wild, bound = (source.play(heads_of(level(x, 2), y), silence()).audio for x, y in ((60.0, 40.0), (4.0, 2.0)))
    np.testing.assert_array_equal(wild.numpy(), bound.numpy())
    assert bool(bound.isfinite().all())
