"""Levels are brought to what the mel asks for."""

import math

import pytest
import torch

from specdiffd.base.formats import MelFormat
from specdiffd.dsp.mel import log_mel
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.levels import LIMIT_NEPERS, LevelCorrection

FRAMES = 60


@pytest.mark.parametrize("compiled", [False, True])
def test_levels_are_what_the_mel_asks_for(compiled: bool) -> None:
    """From 400 Hz on, whatever the sound, within limits; below that nothing changes."""
    voice = torch.randn(1, FRAMES * 320, generator=torch.Generator().manual_seed(6)) * 0.1
    hz = torch.expm1(torch.arange(1, 129) * math.log1p(8000 / 700) / 129) * 700
    tilt = 1.5 * torch.sin(hz / 900)
    correction = LevelCorrection(VocoderConfig())

    def heard(change: float) -> torch.Tensor:
        frames = torch.zeros(1, FRAMES, 128, 6)
        frames[..., 0] = log_mel(voice, MelFormat()) + tilt + change
        later = torch.cat((voice[:, 320:], torch.zeros(1, 320)), 1)
        audio = correction(later, frames, voice[:, :320], torch.zeros(1, 320), compiled).audio
        return (log_mel(audio, MelFormat()) - frames[..., 0])[0, 5:-5]

    error = heard(0.0)
    assert float(error[:, hz > 500].abs().mean()) < 0.1
    assert float((error + tilt)[:, hz < 350].abs().mean()) < 0.05
    assert float(heard(5.0)[:, hz > 500].mean()) == pytest.approx(-(5.0 + float(tilt[hz > 500].mean()) - LIMIT_NEPERS), abs=0.1)
