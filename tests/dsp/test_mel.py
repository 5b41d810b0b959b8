"""The mel front end against an independent computation, frame by frame in NumPy."""

import math

import numpy as np
import torch

from specdiffd.base.formats import MelFormat
from specdiffd.dsp.mel import log_mel, mel_filters

PUBLISHED = MelFormat()


def by_hand(audio: np.ndarray, fmt: MelFormat) -> np.ndarray:
    frames = []
    n = np.arange(fmt.window_samples)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / fmt.window_samples)
    mels = np.linspace(1127 * math.log(1 + fmt.low_hz / 700), 1127 * math.log(1 + fmt.high_hz / 700), fmt.mel_bins + 2)
    for i in range(len(audio) // fmt.hop_samples):
        piece = np.zeros(fmt.window_samples)
        there = audio[i * fmt.hop_samples : i * fmt.hop_samples + fmt.window_samples]
        piece[: len(there)] = there
        magnitude = np.abs(np.fft.rfft(np.concatenate([piece * hann, np.zeros(fmt.fft_size - fmt.window_samples)])))
        row = []
        for b in range(fmt.mel_bins):
            total = 0.0
            for k in range(1, len(magnitude)):
                m = 1127 * math.log(1 + k * fmt.sample_rate_hz / fmt.fft_size / 700)
                up, down = (m - mels[b]) / (mels[b + 1] - mels[b]), (mels[b + 2] - m) / (mels[b + 2] - mels[b + 1])
                total += max(0.0, min(up, down)) * magnitude[k]
            row.append(math.log(min(max(total, 1e-5), 1e8)))
        frames.append(row)
    return np.array(frames)


def test_equals_an_independent_computation() -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 4 * 320 + 100)
    found = log_mel(torch.from_numpy(audio).float(), PUBLISHED)
    assert found.shape == (4, 128)
    assert np.abs(found.numpy() - by_hand(audio, PUBLISHED)).max() < 1e-4


def test_frames_are_not_centred() -> None:
    """A click in sample 640 is outside frame 0 and inside frames 1 and 2."""
    audio = torch.zeros(3200)
    audio[640 + 5] = 1.0
    loud = log_mel(audio, PUBLISHED).mean(1) > PUBLISHED.log_floor + 1
    assert loud.tolist() == [False, True, True, *[False] * 7]


def test_silence_is_the_floor() -> None:
    assert torch.equal(log_mel(torch.zeros(640), PUBLISHED), torch.full((2, 128), math.log(1e-5)))


def test_batches_and_other_formats() -> None:
    fmt = MelFormat(48000, 960, 2048, 2048, 160, 20.0, 20000.0)
    audio = torch.randn(2, 3, 9600)
    mel = log_mel(audio, fmt)
    assert mel.shape == (2, 3, 10, 160)
    assert torch.allclose(mel[1, 2], log_mel(audio[1, 2], fmt))


def test_filters_touch_no_dc_and_peak_at_one() -> None:
    filters = mel_filters(PUBLISHED)
    assert filters.shape == (513, 128)
    assert not filters[0].any()
    assert filters.max() <= 1
