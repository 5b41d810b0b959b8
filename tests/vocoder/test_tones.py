"""The bank of oscillators: continuous, confined to its bins, and a function of the absolute frame."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.heads import Heads
from specdiffd.vocoder.state import VocoderState, initial_state
from specdiffd.vocoder.streaming import Vocoder
from specdiffd.vocoder.tones import LOW_PASS_TAPS, ToneBank

CONFIG = VocoderConfig(width=40, blocks=2, sub_width=24, sub_blocks=1, local_width=16, history_frames=20)


def heads_of(log_amplitude: Tensor, frequency_offset: Tensor, config: VocoderConfig = CONFIG) -> Heads:
    """Heads with tones only (1, M, oscillators), no onsets, and a mel that permits any level."""
    rows = log_amplitude.shape[1]
    frames = rows // config.subframes
    return Heads(
        log_amplitude=log_amplitude,
        frequency_offset=frequency_offset,
        log_noise=torch.full((1, rows, config.noise_bins), -14.0),
        log_envelope=torch.full((1, rows, config.envelope_points), -8.0),
        onsets=torch.zeros(1, frames, config.mel_bins, 2),
        log_mel_ceiling=torch.full((1, frames, config.mel_bins), 9.0),
        target_frames=torch.zeros(1, frames, config.mel_bins, 6),
    )


def silence(bank: ToneBank) -> VocoderState:
    return initial_state(bank.config, len(bank.low_pass_taps), 1, 0, torch.zeros(0))


def test_a_steady_oscillator_is_continuous_over_frames() -> None:
    """A constant frequency that is no multiple of the frame rate comes out as one sinusoid, over chunk borders too."""
    bank = ToneBank(CONFIG)
    state, pieces = silence(bank), []
    log_amplitude = torch.full((1, 4, 128), -14.0)
    log_amplitude[..., 40] = math.log(0.5)
    for _ in range(10):
        tones = bank.synthesise(heads_of(log_amplitude, torch.zeros(1, 4, 128)), state)
        state = state._replace(amplitude=tones.amplitude, phase_cycles=tones.phase_cycles, frame=state.frame + 1)
        pieces.append(tones.audio)
    audio = torch.cat(pieces, 1)[0, 640:]
    spectrum = torch.fft.rfft(audio * torch.hann_window(len(audio)), 1 << 16).abs()
    centre_hz = float(bank.centre_hz[40])
    assert int(spectrum.argmax()) * 16000 / (1 << 16) == pytest.approx(centre_hz, abs=0.5)
    assert audio.abs().max() == pytest.approx(0.5, abs=0.02)
    assert audio.diff().diff().abs().max() < 0.5 * (2 * math.pi * centre_hz / 16000) ** 2 * 1.1


def test_tones_do_not_reach_beyond_the_oscillators() -> None:
    """The kinks of their amplitudes add less than -100 dB there. Below, the filter only delays."""
    config = replace(CONFIG, sample_rate_hz=48000, hop_samples=960, high_hz=20000.0, oscillators=88)
    vocoder, frames = Vocoder(config), 20
    bank = vocoder.tone_bank
    raised = 9.0 * torch.rand(1, 4 * frames, 88, generator=torch.Generator().manual_seed(5))
    heads = heads_of(raised - 9.0 - math.log(88), torch.zeros(1, 4 * frames, 88), config)
    with torch.inference_mode():
        tones = bank.synthesise(heads, vocoder.init_state()).audio[0]
        audio = vocoder.synthesise(heads, vocoder.init_state(), vocoder.init_state())[0][0]
    assert float(bank.centre_hz[-1]) == pytest.approx(6355, abs=1)

    def level_db(x: Tensor) -> Tensor:
        spectra = torch.stft(x, 4096, 1024, window=torch.hann_window(4096) ** 2, center=False, return_complex=True).abs()
        return 20 * torch.log10(spectra.mean(1) / spectra.mean(1).max())

    bins = torch.arange(2049) * 48000 / 4096
    assert float(level_db(tones)[bins > 12000].max()) > -90
    assert float(level_db(audio)[bins > 12000].max()) < -115
    late = (LOW_PASS_TAPS - 1) // 2
    assert float((audio[late:] - tones[:-late]).abs().max()) < 0.03 * float(tones.abs().max())


def test_equal_mels_give_equal_sound_whatever_came_before() -> None:
    """Once an oscillator has been silent, its phase depends on the absolute sample alone."""
    bank = ToneBank(CONFIG)
    offsets = torch.randn(1, 40, 128, generator=torch.Generator().manual_seed(4))
    loud = torch.full((1, 40, 128), -2.0)
    loud[:, 8:12] = -12.0
    one, other = (
        bank.synthesise(heads_of(loud, offsets), silence(bank)._replace(phase_cycles=torch.full((1, 1, 128), phase))).audio
        for phase in (0.0, 0.37)
    )
    assert not torch.allclose(one[:, :640], other[:, :640], atol=1e-2)
    assert torch.allclose(one[:, 12 * 80 :], other[:, 12 * 80 :], atol=1e-4)
