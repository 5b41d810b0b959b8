import numpy as np
import pytest

from specdiffd.dsp.resample import Resampler

PAIRS = [(16000, 48000), (16000, 44100), (48000, 44100), (44100, 48000), (48000, 96000), (16000, 16000), (48000, 16000)]


def whole(r: Resampler, signal, last: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    low, high = r.needs(0, last)
    return r.apply(signal(np.arange(low, high))[:, None].astype(np.float32), 0, last)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_sine_stays_a_sine(source: int, target: int) -> None:
    r = Resampler(source, target)
    hz = 0.35 * min(source, target)
    out = whole(r, lambda n: np.sin(2 * np.pi * hz * n / source), 2000)
    assert np.abs(out[:, 0] - np.sin(2 * np.pi * hz * np.arange(2000) / target)).max() < 2e-3


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("chunk", [1, 7, 333])
def test_chunked_equals_whole(source: int, target: int, chunk: int) -> None:
    r = Resampler(source, target)
    noise = np.random.default_rng(1).normal(size=4000).astype(np.float32)
    at_once = whole(r, lambda n: np.where((n >= 0) & (n < 4000), noise[n % 4000], 0), 600)
    pieces = []
    for first in range(0, 600, chunk):
        last = min(600, first + chunk)
        low, high = r.needs(first, last)
        n = np.arange(low, high)
        inputs = np.where((n >= 0) & (n < 4000), noise[n % 4000], 0).astype(np.float32)[:, None]
        pieces.append(r.apply(inputs, first, last))
    assert np.abs(np.concatenate(pieces) - at_once).max() < 1e-6


def test_what_is_above_the_lower_nyquist_is_gone() -> None:
    r = Resampler(48000, 16000)
    out = whole(r, lambda n: np.sin(2 * np.pi * 9500 * n / 48000), 2000)
    assert np.abs(out).max() < 2e-3
    up = whole(Resampler(16000, 48000), lambda n: np.sin(2 * np.pi * 6000 * n / 16000), 4800)
    image = np.abs(np.fft.rfft(up[:, 0] * np.hanning(4800)))
    assert image[1000 - 5 : 1000 + 5].max() < 1e-4 * image.max()  # 10 kHz


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_ready_is_what_the_inputs_allow(source: int, target: int) -> None:
    r = Resampler(source, target)
    for inputs in (0, 10, 999, 16000):
        ready = r.ready(inputs)
        assert ready == 0 or r.needs(0, ready)[1] <= inputs
