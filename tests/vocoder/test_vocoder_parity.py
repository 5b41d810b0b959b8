"""The torch form and the compiled form of each pair compute the same, on the shipped weights.

The kernels' exp is exact to 3e-5 for the levels that are heard and to 5e-4 for the softest (`specdiffd.base.loops.exp`); their
sinusoids are rotated in float32 over 240 samples. So both forms of a signal agree to 1e-3 of its peak, 60 dB below it, which nobody hears
beside it. The onset gate has neither exp nor sinusoid, only sums in another order.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from specdiffd.base.events import Controllers, Note, Performance
from specdiffd.instruments.loading import load_builtin_family
from specdiffd.prior.note_features import note_features
from specdiffd.vocoder import limits, limits_kernels
from specdiffd.vocoder.heads import Heads
from specdiffd.vocoder.onset_gate import attack_samples, hop_gain
from specdiffd.vocoder.onset_gate_kernels import gate_hops
from specdiffd.vocoder.state import VocoderState
from specdiffd.vocoder.streaming import Vocoder

FRAMES, BEFORE = 90, 50  # the state is not one of silence, and an onset lies on either side
TOLERANCE = 1e-3  # of the peak
GATE_TOLERANCE = 1e-5  # of the peak
# Within a hop in which a note begins, the torch form moves the oscillators' gates in steps of ten samples or so, 0.2 ms.
ONSET_TOLERANCE = 0.05  # of the peak


class Stretch(NamedTuple):
    """The inputs of the pairs."""

    vocoder: Vocoder
    state: VocoderState
    heads: Heads


@pytest.fixture(scope="module")
def stretch() -> Iterator[Stretch]:
    """The second part of a chord, a drum and a violin note on the shipped weights."""
    instrument = load_builtin_family("builtin", "cpu", "float32", graphs=False)
    starts_s = np.arange(FRAMES) * instrument.format.frame_s
    chord = [Note(0.3, pitch, velocity=100, program=0, channel=0) for pitch in (36, 48, 55, 64)]
    later = [Note(1.1, 38, velocity=110, program=0, channel=9, is_drum=True), Note(1.3, 76, velocity=90, program=40, channel=1)]
    performance = Performance([*chord, *later], {channel: Controllers() for channel in (0, 1, 9)})
    config, vocoder = instrument.prior.config, instrument.vocoder
    with torch.inference_mode():
        played = instrument.played(note_features(performance, starts_s, config.window_s, config.ring_s))
        mel, guide = played.mel[None], played.guide[None]
        _, state = vocoder.step(mel[:, :BEFORE], vocoder.init_state(), guide[:, :BEFORE])
        heads, _ = vocoder.analyse(mel[:, BEFORE:], state, guide[:, BEFORE:])
        yield Stretch(vocoder, state, heads)


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Within ``tolerance`` of the peak, which is not that of silence."""
    peak = float(expected.abs().max())
    assert peak > 1e-4
    assert float((found - expected).abs().max()) < tolerance * peak


def test_limits(stretch: Stretch) -> None:
    """The factor is 1 minus an exp, which the kernels have to 3e-5."""
    ceiling, log_floor = stretch.heads.log_mel_ceiling.flatten(), stretch.vocoder.config.log_floor
    factor = [limits_kernels.audibility(np.float32(x), np.float32(log_floor)) for x in ceiling.tolist()]
    torch.testing.assert_close(torch.tensor(factor), limits.audibility(ceiling, log_floor), atol=5e-5, rtol=0)


def test_onset_gate(stretch: Stretch) -> None:
    config, onsets = stretch.vocoder.config, stretch.heads.onsets
    gain = hop_gain(onsets, config)
    assert float(gain.min()) < 0.7
    found = torch.ones(1, onsets.shape[1], config.hop_samples)
    gate_hops(np.float32(attack_samples(config)), onsets.contiguous().numpy(), found.numpy())
    assert_close(found.flatten(1), gain, GATE_TOLERANCE)


def test_tones(stretch: Stretch) -> None:
    bank, heads, state = stretch.vocoder.tone_bank, stretch.heads, stretch.state
    found, expected = bank.play(heads, state), bank.synthesise(heads, state)
    begins = heads.onsets[..., 0].amax(-1)[0] > 0  # (T,)
    assert begins.any()
    assert not begins.all()
    by_hop = (x.audio.unflatten(1, (-1, stretch.vocoder.config.hop_samples)) for x in (found, expected))
    found_hops, expected_hops = by_hop
    assert_close(found_hops[:, ~begins], expected_hops[:, ~begins], TOLERANCE)
    assert_close(found_hops[:, begins], expected_hops[:, begins], ONSET_TOLERANCE)
    assert_close(found.amplitude, expected.amplitude, TOLERANCE)
    cycles = (found.phase_cycles - expected.phase_cycles).abs()
    assert float(torch.minimum(cycles, 1 - cycles).max()) < TOLERANCE


def test_noise(stretch: Stretch) -> None:
    source, heads, state = stretch.vocoder.noise_source, stretch.heads, stretch.state
    found, expected = source.play(heads, state), source.synthesise(heads, state)
    assert_close(found.audio, expected.audio, TOLERANCE)
    assert_close(found.tails, expected.tails, TOLERANCE)


def test_levels(stretch: Stretch) -> None:
    """On spectra of the stretch, whose levels have the networks' errors."""
    vocoder, heads, state = stretch.vocoder, stretch.heads, stretch.state
    correction, hop = vocoder.level_correction, vocoder.config.hop_samples
    audio, _ = vocoder.synthesise(heads, state, state)
    windows = torch.cat((state.uncorrected_hop[:, -1], audio), 1).unfold(1, 2 * hop, hop)
    spectra = torch.fft.rfft(windows * correction.window, vocoder.config.mel_fft_size)
    log_mel = heads.target_frames[..., 0]
    expected = correction.corrected(spectra, log_mel)
    assert float((expected - spectra).abs().max()) > 0.1 * float(expected.abs().max())
    assert_close(correction.corrected_by_loops(spectra.clone(), log_mel), expected, TOLERANCE)
