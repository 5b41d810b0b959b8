"""The two forms of the note prior say the same with the shipped weights: the torch form that is trained, the compiled one that plays."""

import numpy as np
import pytest
import torch
from test_prior import played

from specdiffd.instruments.loading import load_builtin_family
from specdiffd.prior.mixing import mean_roughness, summed
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import NoteFeatures, note_features
from specdiffd.prior.playing import PlayedPrior

# Nepers. The compiled form keeps the weights of the note network as 16-bit integers, to 1 part in 65,000 of the largest one of an output,
# and its exponential is wrong by up to 5e-4 far from 0: 0.02 dB is what they make together. A wrong feature or gain makes tenths of a neper.
TOLERANCE = 2e-3
FRAMES = 40


@pytest.fixture(scope="module")
def prior() -> NotePrior:
    return load_builtin_family("builtin", "cpu", "float32").prior


def features(prior: NotePrior, program: int) -> NoteFeatures:
    """Short, long, low, high, soft, loud, bent and choked notes of a program, and drums, with volume, pedal and wheel."""
    performance = played(
        (0.0, 0xC0, program, 0),
        (0.0, 0xB0, 1, 50),
        (0.0, 0xB0, 11, 90),
        (0.01, 0x90, 36 + program % 40, 30),
        (0.03, 0x90, 100, 120),
        (0.05, 0x99, 35 + program % 47, 100),
        (0.09, 0x80, 100, 0),
        (0.1, 0xB0, 64, 127),
        (0.12, 0x90, 60, 80),
        (0.2, 0xE0, 0, 0x50),
        (0.25, 0x80, 60, 0),
        (0.3, 0xB0, 64, 0),
        (0.4, 0x90, 15, 64),
    )
    config = prior.config
    return note_features(performance, np.arange(FRAMES) * 0.02, config.window_s, config.ring_s)


@pytest.mark.parametrize("program", range(0, 128, 9))
def test_the_mean_is_the_same(prior: NotePrior, program: int) -> None:
    x = features(prior, program)
    expected = prior(x)
    assert float(expected.std()) > 0.5
    assert float((PlayedPrior(prior)(x).mel - expected).abs().max()) < TOLERANCE


@pytest.mark.parametrize("program", [0, 48, 122])
def test_the_roughness_is_the_same(prior: NotePrior, program: int) -> None:
    """Where noise is always one deviation below the mean, a single note's texture is its roughness, negative."""
    config, x = prior.config, features(prior, program)
    x = NoteFeatures(*(column[:1] for column in x))
    notes = prior.contributions(x)
    total = summed(notes.power, notes.frame, FRAMES)
    expected = mean_roughness(notes.power, notes.rough_power, notes.frame, prior.beats, total, config.log_floor)
    texture = PlayedPrior(prior, -torch.ones(1, config.mel_bins))(x).texture
    sounding = notes.rough_power.new_zeros(FRAMES, config.mel_bins).index_add(0, notes.frame, notes.rough_power) > 1e-6
    assert float(expected[sounding].mean()) > 0.01
    assert float((texture + expected)[sounding].abs().max()) < TOLERANCE
