"""The onset gate sample by sample: silent share before an onset, full after the attack, alike in all its forms."""

import numpy as np
import pytest
import torch

from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.onset_gate import ATTACK_S, attack_samples, hop_gain, oscillator_gate
from specdiffd.vocoder.onset_gate_kernels import gate_hop, gate_hops

CONFIG = VocoderConfig()
HOP, BINS, ATTACK = CONFIG.hop_samples, CONFIG.mel_bins, np.float32(attack_samples(CONFIG))


def uniform(share: float, place: float) -> np.ndarray:
    """Onsets (mel, 2) that are the same in all bins."""
    return np.full((BINS, 2), (share, place), np.float32)


def gain(onsets: np.ndarray) -> np.ndarray:
    """The factor on each sample of a hop, of the compiled form."""
    audio = np.ones(HOP, np.float32)
    gate_hop(ATTACK, onsets, audio)
    return audio


def expected_gain(share: float, onset_samples: float) -> np.ndarray:
    risen = np.clip((np.arange(HOP) - onset_samples) / (ATTACK_S * CONFIG.sample_rate_hz), 0, 1)
    before = np.sqrt(1 - share)
    return before + (1 - before) * risen


@pytest.mark.parametrize("share", [0.1, 0.75, 1.0])
@pytest.mark.parametrize("place", [0.0, 0.2, 0.499, 0.5, 1.0])
def test_until_an_onset_only_what_sounds_already_is_heard(share: float, place: float) -> None:
    """The place is within two hops: from a half on the onset lies in the next one."""
    np.testing.assert_allclose(gain(uniform(share, place)), expected_gain(share, 2 * HOP * place), atol=2e-4)


def test_where_nothing_begins_nothing_is_changed() -> None:
    audio = np.random.default_rng(0).normal(size=HOP).astype(np.float32)
    before = audio.copy()
    gate_hop(ATTACK, uniform(0.0, 0.7), audio)
    np.testing.assert_array_equal(audio, before)


@pytest.mark.parametrize("place", [0.1, 0.3, 0.45])
def test_a_note_alone_is_silent_up_to_its_sample(place: float) -> None:
    onset = 2 * HOP * place
    found = gain(uniform(1.0, place))
    assert found[: int(onset) + 1].max() < 1e-3
    assert found[int(np.ceil(onset + ATTACK)) :].min() > 1 - 1e-3


def test_bins_count_by_their_share() -> None:
    """Half of the bins begin, an eighth into the two hops; a thousandth of a share later does not move that."""
    onsets = uniform(0.0, 0.0)
    onsets[: BINS // 2] = (0.8, 0.125)
    np.testing.assert_allclose(gain(onsets), expected_gain(0.4, HOP / 4), atol=1e-4)
    onsets[BINS // 2 :] = (0.001, 1.0)
    moved = np.argmax(gain(onsets) > 0.9) - np.argmax(expected_gain(0.4, HOP / 4) > 0.9)
    assert 0 <= moved <= 1 + 2 * HOP * 0.002


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (2, 3)])
def test_hops_are_gated_one_by_one_as_training_does(batch: int, frames: int) -> None:
    onsets = np.random.default_rng(1).uniform(0, 1, (batch, frames, BINS, 2)).astype(np.float32)
    audio = np.ones((batch, frames, HOP), np.float32)
    gate_hops(ATTACK, onsets, audio)
    for b in range(batch):
        for t in range(frames):
            np.testing.assert_array_equal(audio[b, t], gain(onsets[b, t]))
    trained = hop_gain(torch.from_numpy(onsets), CONFIG).view(batch, frames, HOP).numpy()
    np.testing.assert_allclose(audio, trained, atol=1e-5)


def test_every_oscillator_has_the_gate_of_its_bin() -> None:
    onsets = torch.zeros(1, 2, BINS, 2)
    onsets[0, 1, 5] = torch.tensor([1.0, 0.25])  # half a hop after the second hop's beginning
    gate = oscillator_gate(onsets, CONFIG)
    rows = 2 * CONFIG.subframes
    assert gate.gain_before.shape == gate.onset_samples.shape == (1, rows, CONFIG.oscillators)
    gains = torch.stack([gate.gain_at(torch.tensor(float(n))) for n in range(CONFIG.sub_hop_samples)], -1)  # (1, M, K, samples)
    heard = gains[0, :, 5].flatten().numpy()  # both hops, sample by sample
    assert not heard[HOP : HOP + HOP // 2 + 1].any()
    assert (heard[:HOP] == 1).all()
    assert (heard[HOP + HOP // 2 + int(np.ceil(ATTACK)) :] == 1).all()
    others = [k for k in range(CONFIG.oscillators) if k != 5]
    assert (gains[0][:, others] == 1).all()


def test_a_share_of_the_power_is_a_root_of_amplitude() -> None:
    onsets = torch.zeros(1, 1, BINS, 2)
    onsets[..., 0], onsets[..., 1] = 0.64, 0.5
    assert hop_gain(onsets, CONFIG).numpy() == pytest.approx(np.full((1, HOP), 0.6))
