import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from specdiffd.backends.eager import Eager
from specdiffd.base.formats import NO_GUIDE, MelFormat
from specdiffd.dsp.mel import log_mel
from specdiffd.vocoder.melgan import LEVELLED_NEPERS, Vocoder, VocoderConfig, VocoderState
from specdiffd.vocoder.oscillators import Gate, oscillate, phases

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
    audio, _ = vocoder.step(mel[:, 40:], astray.rewind(13, CONFIG.subframes), guides[:, 40:])
    assert torch.allclose(audio, whole[:, 40 * 320 :], atol=1e-5)
    back = astray.rewind(18, CONFIG.subframes)
    audio, _ = vocoder.step(mel[:, 35:], back, guides[:, 35:])
    assert torch.allclose(audio, whole[:, 35 * 320 :], atol=1e-5)


def test_the_history_has_an_end(vocoder: Vocoder, mel: Tensor) -> None:
    _, state = vocoder.step(mel, vocoder.init_state(2))
    state.rewind(20, CONFIG.subframes)
    with pytest.raises(ValueError, match="cannot go back 21 frames, the history holds 20"):
        state.rewind(21, CONFIG.subframes)


def test_the_lookahead_is_what_it_says(vocoder: Vocoder, mel: Tensor) -> None:
    """Hop i hears frames up to i + lookahead, no later ones: of the networks' own and of the window that levels are measured in."""
    assert vocoder.lookahead_frames == CONFIG.lookahead_frames + 1
    audio = vocoder(mel)
    changed = mel.clone()
    changed[:, 30:] += 1
    differs = (vocoder(changed) - audio).abs().amax((0,)) > 1e-6
    first = int(differs.nonzero()[0])
    assert first >= (30 - vocoder.lookahead_frames) * 320
    assert first < (30 - vocoder.lookahead_frames + 1) * 320


def test_levels_are_what_the_mel_asks_for(vocoder: Vocoder) -> None:
    """From 400 Hz on, whatever the weights say, within limits; below they are the networks' own."""
    voice = torch.randn(1, FRAMES * 320, generator=torch.Generator().manual_seed(6)) * 0.1
    hz = torch.expm1(torch.arange(1, 129) * math.log1p(8000 / 700) / 129) * 700
    tilt = 1.5 * torch.sin(hz / 900)

    def heard(change: float) -> Tensor:
        frames = torch.zeros(1, FRAMES, 128, 6)
        frames[..., 0] = log_mel(voice, MelFormat()) + tilt + change
        audio, _ = vocoder.level(
            torch.cat((voice[:, 320:], torch.zeros(1, 320)), 1), frames, vocoder.init_state(1)._replace(unlevelled=voice[:, None, :320])
        )
        return (log_mel(audio, MelFormat()) - frames[..., 0])[0, 5:-5]

    error = heard(0.0)
    assert float(error[:, hz > 500].abs().mean()) < 0.1
    assert float((error + tilt)[:, hz < 350].abs().mean()) < 0.05
    assert float(heard(5.0)[:, hz > 500].mean()) == pytest.approx(-(5.0 + float(tilt[hz > 500].mean()) - LEVELLED_NEPERS), abs=0.1)


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


@pytest.mark.parametrize("samples", [80, 240])
def test_oscillators_are_sines_of_linear_amplitude(samples: int) -> None:
    start, per_sample, before, amplitude = (torch.rand(1, 3, 5, generator=torch.Generator().manual_seed(k)) for k in range(4))
    per_sample = per_sample * 0.4
    n = torch.arange(samples)
    phase = 2 * math.pi * (start[..., None] + per_sample[..., None] * n)
    level = before[..., None] + (amplitude - before)[..., None] * (n + 1) / samples
    expected = (level * phase.sin()).sum(2)
    open_ = Gate(torch.zeros(1, 3, 5), torch.ones(1, 3, 5), 8.0)
    assert torch.allclose(oscillate(start, per_sample, before, amplitude, samples, open_), expected, atol=1e-4)


def test_oscillators_wait_for_their_moment() -> None:
    """Nothing before it, what belongs to older notes, or all; also where the moment lies in another stretch."""
    start, level = torch.full((1, 3, 1), 0.2), torch.ones(1, 3, 1)
    alone = oscillate(start, 0.01 * level, level, level, 80, Gate(torch.zeros(1, 3, 1), level, 8.0))[0]
    gate = Gate(torch.tensor([-80.0, 30.0, 100.0]).view(1, 3, 1), torch.tensor([0.0, 0.0, 0.5]).view(1, 3, 1), 8.0)
    heard = oscillate(start, 0.01 * level, level, level, 80, gate)[0]
    assert torch.allclose(heard[0], alone[0], atol=1e-5)
    assert heard[1, :25].abs().max() < 1e-5
    assert torch.allclose(heard[1, 44:], alone[1, 44:], atol=1e-5)
    assert torch.allclose(heard[2], 0.5 * alone[2], atol=1e-5)


@in_all_or_some_bins
def test_what_plays_is_what_was_trained(vocoder: Vocoder, mel: Tensor) -> None:
    """The loops against what training differentiates: in two steps, silence and an onset among them, any number of parts."""
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
    for name in ("amplitude", "wave", "tail", "unlevelled", "owed"):
        a, b = getattr(state, name), getattr(expected_state, name)
        assert torch.allclose(a, b, atol=1e-3 * scale), name
    turns = (state.cycles - expected_state.cycles).abs()
    assert float(torch.minimum(turns, 1 - turns).max()) < 1e-3


def test_partials_that_the_score_knows_have_its_pitch(vocoder: Vocoder, mel: Tensor) -> None:
    """Exactly, where they are loud enough to be heard one by one; elsewhere the networks say."""
    guide = torch.tensor(NO_GUIDE).repeat(2, FRAMES, 128, 1)
    hertz = torch.tensor([55.0, 440.0, 1500.0, 4000.0])
    bins = (vocoder.centre_hz - hertz[:, None]).abs().argmin(1)
    step = math.log1p(8000 / 700) / 129
    guide[:, :, bins, 0] = torch.log1p(hertz / 700) / step - 1 - bins
    guide[:, :, bins, 1] = torch.tensor([-3.0, -3.0, -9.0, -3.0])
    none = torch.tensor(NO_GUIDE).expand(2, FRAMES, 128, 5)
    tuned, free = (vocoder.frequencies(vocoder.analyse(mel, vocoder.init_state(2), x)[0].offset)[:, 20:] for x in (guide, none))
    assert torch.allclose(tuned[..., bins[:2]], hertz[:2].expand(*tuned.shape[:2], 2), rtol=1e-5)
    others = [k for k in range(128) if k not in bins[:2]]
    assert torch.allclose(tuned[..., others], free[..., others], atol=1.0)  # as read from mel and guide


def test_silence_is_silent(vocoder: Vocoder, mel: Tensor) -> None:
    """Where a mel is at its floor nothing is heard, from tones or noise, whatever the weights."""
    for head in (vocoder.heads, vocoder.local.out):
        torch.nn.init.constant_(head.bias, 0.5)
    mel[:, 20:40] = CONFIG.log_floor
    audio = vocoder(mel)
    assert audio[:, 22 * 320 : 40 * 320].abs().max() < 1e-6
    assert audio[:, : 20 * 320].abs().max() > 0.1
    quiet = vocoder(torch.full_like(mel, -9.0))
    assert log_mel(quiet, MelFormat())[:, 5:-5].mean() < -4  # loud weights, and yet


def test_nothing_sounds_before_its_onset(vocoder: Vocoder, mel: Tensor) -> None:
    """Neither tones nor noise, from the hop before on, to the sample, nor what levelling spreads; other windows are left alone."""
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


def test_a_steady_oscillator_is_continuous_over_frames(vocoder: Vocoder) -> None:
    """A constant frequency that is no multiple of the frame rate comes out as one sinusoid, over chunk borders too."""
    from specdiffd.vocoder.melgan import Heads

    state = vocoder.init_state(1)
    pieces = []
    for _ in range(10):
        heads = Heads(
            torch.full((1, 4, 128), -14.0),
            torch.zeros(1, 4, 128),
            torch.zeros(1, 4, 161),
            torch.zeros(1, 4, 16),
            torch.zeros(1, 1, 128, 2),
            torch.full((1, 1, 128), 9.0),
            torch.zeros(1, 1, 128, 6),
        )
        heads.amplitude[..., 40] = math.log(0.5)
        wave, amplitude, cycles = vocoder._oscillators(heads, state)
        state = state._replace(amplitude=amplitude, cycles=cycles, frame=state.frame + 1)
        pieces.append(wave)
    audio = torch.cat(pieces, 1)[0, 640:]
    spectrum = torch.fft.rfft(audio * torch.hann_window(len(audio)), 1 << 16).abs()
    assert int(spectrum.argmax()) * 16000 / (1 << 16) == pytest.approx(float(vocoder.centre_hz[40]), abs=0.5)
    assert audio.abs().max() == pytest.approx(0.5, abs=0.02)
    assert audio.diff().diff().abs().max() < 0.5 * (2 * math.pi * float(vocoder.centre_hz[40]) / 16000) ** 2 * 1.1


def test_tones_do_not_reach_beyond_the_oscillators() -> None:
    """Not by the kinks of their amplitudes either: what a soft sound has there is under -100 dB. Below, the filter only delays."""
    from specdiffd.vocoder.melgan import TONE_TAPS, Heads

    vocoder = Vocoder(replace(CONFIG, sample_rate_hz=48000, hop_samples=960, high_hz=20000.0, oscillators=88), PLAYED)
    frames = 20
    raised = 9.0 * torch.rand(1, 4 * frames, 88, generator=torch.Generator().manual_seed(5))
    heads = Heads(
        raised - 9.0 - math.log(88),
        torch.zeros(1, 4 * frames, 88),
        torch.full((1, 4 * frames, 481), -14.0),
        torch.full((1, 4 * frames, 16), -8.0),
        torch.zeros(1, frames, 128, 2),
        torch.full((1, frames, 128), 9.0),
        torch.zeros(1, frames, 128, 6),
    )
    with torch.inference_mode():
        tones = vocoder._oscillators(heads, vocoder.init_state())[0][0]
        audio = vocoder.synthesise(heads, vocoder.init_state(), vocoder.init_state())[0][0]
    assert float(vocoder.centre_hz[-1]) == pytest.approx(6355, abs=1)

    def level_db(x: Tensor) -> Tensor:
        spectra = torch.stft(x, 4096, 1024, window=torch.hann_window(4096) ** 2, center=False, return_complex=True).abs()
        return 20 * torch.log10(spectra.mean(1) / spectra.mean(1).max())

    bins = torch.arange(2049) * 48000 / 4096
    assert float(level_db(tones)[bins > 12000].max()) > -90
    assert float(level_db(audio)[bins > 12000].max()) < -115
    late = (TONE_TAPS - 1) // 2
    assert float((audio[late:] - tones[:-late]).abs().max()) < 0.03 * float(tones.abs().max())


def test_equal_mels_give_equal_sound_whatever_came_before(vocoder: Vocoder, mel: Tensor) -> None:
    """Once the convolutions have forgotten and an oscillator has been silent, its phase depends on the absolute sample alone."""
    from specdiffd.vocoder.melgan import Heads

    offsets = torch.randn(1, 40, 128, generator=torch.Generator().manual_seed(4))
    loud = torch.full((1, 40, 128), -2.0)
    loud[:, 8:12] = -12.0
    one, other = (
        vocoder._oscillators(
            Heads(
                loud,
                offsets,
                torch.zeros(1, 40, 161),
                torch.zeros(1, 40, 16),
                torch.zeros(1, 10, 128, 2),
                torch.full((1, 10, 128), 9.0),
                torch.zeros(1, 10, 128, 6),
            ),
            vocoder.init_state(1)._replace(cycles=torch.full((1, 1, 128), phase)),
        )[0]
        for phase in (0.0, 0.37)
    )
    assert not torch.allclose(one[:, :640], other[:, :640], atol=1e-2)
    assert torch.allclose(one[:, 12 * 80 :], other[:, 12 * 80 :], atol=1e-4)
    sums = phases(torch.full((1, 6, 1), 0.25), torch.tensor([[[0.5]]]), torch.tensor([0, 0, 0, 1, 0, 0], dtype=torch.bool)[None, :, None])
    assert sums.flatten().tolist() == [0.75, 0.0, 0.25, 0.0, 0.25, 0.5]
