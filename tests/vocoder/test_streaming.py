"""The streaming vocoder with random weights: steps of any size, and what mel and guide decide whatever the weights say."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from specdiffd.backends.eager import Eager
from specdiffd.base.formats import NO_GUIDE, MelFormat
from specdiffd.dsp.mel import log_mel
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.state import VocoderState
from specdiffd.vocoder.streaming import Vocoder

CONFIG = VocoderConfig(width=40, blocks=2, sub_width=24, sub_blocks=1, local_width=16, history_frames=20)
FRAMES = 60
PLAYED = Eager(loops=True)
in_all_or_some_bins = pytest.mark.parametrize("vocoder", [CONFIG, replace(CONFIG, oscillators=96)], ids=["all", "some"], indirect=True)


@pytest.fixture
def vocoder(request: pytest.FixtureRequest) -> Iterator[Vocoder]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield Vocoder(getattr(request, "param", CONFIG), PLAYED).eval()


@pytest.fixture
def mel() -> Tensor:
    return torch.randn(2, FRAMES, 128, generator=torch.Generator().manual_seed(1)) * 2 - 5


@pytest.fixture
def guides() -> Tensor:
    return torch.rand(2, FRAMES, 128, 5, generator=torch.Generator().manual_seed(2)) - torch.tensor([0.5, 6.0, 0.0, 0.0, 0.0])


@in_all_or_some_bins
@pytest.mark.parametrize("cuts", [(1,) * FRAMES, (7, 1, 30, 22), (59, 1)])
def test_chunked_equals_whole(vocoder: Vocoder, mel: Tensor, guides: Tensor, cuts: tuple[int, ...]) -> None:
    whole, _ = vocoder.step(mel, vocoder.init_state(2), guides)
    state, at, pieces = vocoder.init_state(2), 0, []
    for n in cuts:
        audio, state = vocoder.step(mel[:, at : at + n], state, guides[:, at : at + n])
        assert audio.shape == (2, n * 320)
        pieces.append(audio)
        at += n
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-5)


@in_all_or_some_bins
def test_going_back_takes_the_other_way_as_if_it_were_the_first(vocoder: Vocoder, mel: Tensor, guides: Tensor) -> None:
    whole, _ = vocoder.step(mel, vocoder.init_state(2), guides)
    _, state = vocoder.step(mel[:, :40], vocoder.init_state(2), guides[:, :40])
    _, astray = vocoder.step(torch.randn(2, 13, 128), state)
    audio, _ = vocoder.step(mel[:, 40:], vocoder.rewind(astray, 13), guides[:, 40:])
    assert torch.allclose(audio, whole[:, 40 * 320 :], atol=1e-5)
    back = vocoder.rewind(astray, 18)
    audio, _ = vocoder.step(mel[:, 35:], back, guides[:, 35:])
    assert torch.allclose(audio, whole[:, 35 * 320 :], atol=1e-5)


def test_the_history_has_an_end(vocoder: Vocoder, mel: Tensor) -> None:
    _, state = vocoder.step(mel, vocoder.init_state(2))
    vocoder.rewind(state, 20)
    with pytest.raises(ValueError, match="cannot go back 21 frames, the history holds 20"):
        vocoder.rewind(state, 21)


def test_the_lookahead_is_what_it_says(vocoder: Vocoder, mel: Tensor) -> None:
    """Hop i depends on frames up to i + lookahead, no later ones: the networks' lookahead, and the window of the levels."""
    assert vocoder.lookahead_frames == CONFIG.lookahead_frames + 1
    audio = vocoder(mel)
    changed = mel.clone()
    changed[:, 30:] += 1
    differs = (vocoder(changed) - audio).abs().amax((0,)) > 1e-6
    first = int(differs.nonzero()[0])
    assert first >= (30 - vocoder.lookahead_frames) * 320
    assert first < (30 - vocoder.lookahead_frames + 1) * 320


def test_the_noise_belongs_to_the_absolute_frame(vocoder: Vocoder, mel: Tensor) -> None:
    a, _ = vocoder.step(mel, vocoder.init_state(2, frame=100))
    b, _ = vocoder.step(mel, vocoder.init_state(2, frame=100))
    c, _ = vocoder.step(mel, vocoder.init_state(2, frame=101))
    assert torch.equal(a, b)
    assert not torch.allclose(a, c, atol=1e-4)


def test_no_guide_is_a_guide_that_says_nothing(vocoder: Vocoder, mel: Tensor) -> None:
    torch.nn.init.normal_(vocoder.local.guide.weight)
    none = torch.tensor(NO_GUIDE).expand(2, FRAMES, 128, 5)
    assert torch.allclose(vocoder(mel), vocoder(mel, none), atol=1e-5)
    assert not torch.allclose(vocoder(mel), vocoder(mel, torch.zeros(2, FRAMES, 128, 5)), atol=1e-3)


@in_all_or_some_bins
def test_what_plays_is_what_was_trained(vocoder: Vocoder, mel: Tensor) -> None:
    """The loops against the torch form, in two steps, with silence and an onset, for one and several parts."""
    for head in (vocoder.heads, vocoder.local.out):
        torch.nn.init.normal_(head.weight, std=0.3)
        torch.nn.init.constant_(head.bias, -1.0)
    mel[:, 20:24] = CONFIG.log_floor
    guide = torch.tensor(NO_GUIDE).repeat(2, FRAMES, 128, 1)
    guide[0, 30, ::2, 3:], guide[0, 31, ::2, 3:] = torch.tensor([0.9, 0.8]), torch.tensor([0.9, 0.3])

    trained = Vocoder(vocoder.config)
    trained.load_state_dict(vocoder.state_dict())

    def heard(vocoder: Vocoder) -> tuple[Tensor, VocoderState]:
        first, state = vocoder.step(mel[:, :25], vocoder.init_state(2, frame=100), guide[:, :25])
        then, state = vocoder.step(mel[:, 25:], state, guide[:, 25:])
        return torch.cat((first, then), 1), state

    expected, expected_state = heard(trained)
    found, state = heard(vocoder)
    scale = float(expected.abs().max())
    assert scale > 0.01
    error = (found - expected).abs().view(2, FRAMES, CONFIG.hop_samples).amax((0, 2)) / scale
    at_onset = torch.arange(32, 36)  # where training moves the gate in steps
    assert float(error[at_onset].max()) < 0.02
    error[at_onset] = 0
    assert float(error.max()) < 1e-3
    for name in ("amplitude", "tone_tail", "noise_tail", "uncorrected_hop", "corrected_tail"):
        a, b = getattr(state, name), getattr(expected_state, name)
        assert torch.allclose(a, b, atol=1e-3 * scale), name
    turns = (state.phase_cycles - expected_state.phase_cycles).abs()
    assert float(torch.minimum(turns, 1 - turns).max()) < 1e-3


def test_partials_that_the_score_knows_have_its_pitch(vocoder: Vocoder, mel: Tensor) -> None:
    """Exactly where they are loud enough to be heard one by one; elsewhere the networks' frequencies stay."""
    guide = torch.tensor(NO_GUIDE).repeat(2, FRAMES, 128, 1)
    hertz = torch.tensor([55.0, 440.0, 1500.0, 4000.0])
    bins = (vocoder.tone_bank.centre_hz - hertz[:, None]).abs().argmin(1)
    step = math.log1p(8000 / 700) / 129
    guide[:, :, bins, 0] = torch.log1p(hertz / 700) / step - 1 - bins
    guide[:, :, bins, 1] = torch.tensor([-3.0, -3.0, -9.0, -3.0])
    none = torch.tensor(NO_GUIDE).expand(2, FRAMES, 128, 5)
    heads = (vocoder.analyse(mel, vocoder.init_state(2), x)[0] for x in (guide, none))
    tuned, free = (vocoder.tone_bank.frequencies_hz(x.frequency_offset)[:, 20:] for x in heads)
    assert torch.allclose(tuned[..., bins[:2]], hertz[:2].expand(*tuned.shape[:2], 2), rtol=1e-5)
    untuned = [k for k in range(128) if k not in bins[:2]]
    assert torch.allclose(tuned[..., untuned], free[..., untuned], atol=1.0)  # from mel and guide


def test_silence_is_silent(vocoder: Vocoder, mel: Tensor) -> None:
    """Where a mel is at its floor tones and noise are silent, whatever the weights."""
    for head in (vocoder.heads, vocoder.local.out):
        torch.nn.init.constant_(head.bias, 0.5)
    mel[:, 20:40] = CONFIG.log_floor
    audio = vocoder(mel)
    assert audio[:, 22 * 320 : 40 * 320].abs().max() < 1e-6
    assert audio[:, : 20 * 320].abs().max() > 0.1
    quiet = vocoder(torch.full_like(mel, -9.0))
    assert log_mel(quiet, MelFormat())[:, 5:-5].mean() < -4  # loud weights, and yet


def test_nothing_sounds_before_its_onset(vocoder: Vocoder, mel: Tensor) -> None:
    """Tones, noise and the correction of levels are silent up to the onset's sample; windows without an onset do not change."""
    guide = torch.tensor(NO_GUIDE).repeat(2, FRAMES, 128, 1)
    hop = CONFIG.hop_samples
    guide[:, 20, :, 3:] = torch.tensor([1.0, 0.85])  # of the window of two hops
    guide[:, 21, :, 3:] = torch.tensor([1.0, 0.35])
    audio, free = vocoder(mel, guide), vocoder(mel)
    onset = round(21.7 * hop)
    assert audio[:, 20 * hop : onset].abs().max() < 1e-5
    assert audio[:, onset + round(0.0005 * 16000) : 22 * hop].abs().max() > 1e-3
    assert torch.allclose(audio[:, 23 * hop :], free[:, 23 * hop :], atol=1e-5)
    assert torch.allclose(audio[:, : 19 * hop], free[:, : 19 * hop], atol=1e-5)
