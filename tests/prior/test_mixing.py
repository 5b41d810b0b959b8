"""What notes are together: powers add, roughness is a mean by power, and texture makes no bin stand out."""

import math

import numpy as np
import pytest
import torch

from specdiffd.prior.mixing import log_mel_of, mean_roughness, summed
from specdiffd.prior.mixing_kernels import OVER_LOUDEST_NEPERS, limit_texture, mix_note, mix_sums, roughness_of_bin

LOG_FLOOR = math.log(1e-5)


def test_power_is_summed_by_frame() -> None:
    power, frame = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([2, 0, 2])
    assert summed(power, frame, 4).tolist() == [[3, 4], [0, 0], [6, 8], [0, 0]]


def test_a_log_mel_is_half_the_log_of_power_down_to_the_floor() -> None:
    power = torch.tensor([0.0, math.exp(2 * LOG_FLOOR), 1.0, math.e**4])
    expected = [LOG_FLOOR, LOG_FLOOR + 0.5 * math.log(2), 0.0, 2.0]
    assert log_mel_of(power, LOG_FLOOR).tolist() == pytest.approx(expected, abs=1e-5)


def roughness(powers: list[float], each: list[float], beats: float) -> float:
    power = torch.tensor(powers)[:, None]
    rough_power, frame = power * torch.tensor(each)[:, None], torch.zeros(len(powers), dtype=torch.int64)
    return float(mean_roughness(power, rough_power, frame, torch.tensor([math.log(beats)]), summed(power, frame, 1), LOG_FLOOR))


@pytest.mark.parametrize(
    ("powers", "each", "expected"),
    [
        ([1.0], [0.3], 0.3),  # a note alone does not beat
        ([1.0, 1.0], [0.3, 0.1], math.sqrt(0.2**2 + 0.5**2 / 2)),  # of two parcels, half are of different notes
        ([3.0, 1.0], [0.3, 0.1], math.sqrt(0.25**2 + 0.5**2 * 3 / 8)),
        ([1.0] * 4, [0.0] * 4, 0.5 * math.sqrt(3 / 4)),
        ([1.0, 1e-9], [0.3, 0.3], 0.3),
        ([0.0], [0.0], 1e-6),
    ],
)
def test_roughness_is_that_of_the_notes_and_of_their_beats(powers: list[float], each: list[float], expected: float) -> None:
    assert roughness(powers, each, beats=0.5) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_compiled_form_is_as_rough(seed: int) -> None:
    rng = np.random.default_rng(seed)
    power, each, beats = rng.uniform(0, 2, 5).astype(np.float32), rng.uniform(0, 0.5, 5).astype(np.float32), np.float32(0.4)
    total, floor = power.sum(), np.float32(math.exp(2 * LOG_FLOOR))
    found = roughness_of_bin(total, (power**2).sum(), (power * each).sum(), total + floor, beats * beats)
    assert found == pytest.approx(roughness(power.tolist(), each.tolist(), 0.4), rel=1e-4)


def test_sums_are_over_the_notes_of_a_frame() -> None:
    rng = np.random.default_rng(0)
    sums = mix_sums(3, 7)
    assert not any(table.any() for table in sums)
    notes = rng.uniform(0, 1, (4, 3, 7)).astype(np.float32)  # power, rough power and noise of four
    for note, attacks in zip(notes, (True, False, True, False), strict=True):
        mix_note(sums, 1, *note, np.bool_(attacks))
    power, rough, noise = notes.transpose(1, 0, 2)
    expected = (power, power**2, rough, rough**2, rough * noise, power[::2])
    for table, parts in zip(sums, expected, strict=True):
        np.testing.assert_allclose(table[1], parts.sum(0), rtol=1e-5)
        assert not table[[0, 2]].any()


@pytest.mark.parametrize("attack", [0.0, 0.5, 1.0])
def test_texture_raises_no_bin_much_above_the_loudest(attack: float) -> None:
    mel, texture = np.array([1.0, 3.0, 2.9, -4.0], np.float32), np.array([5.0, 5.0, 0.05, -2.0], np.float32)
    limit_texture(mel, np.full(4, attack, np.float32), texture)
    most = 3.0 + float(OVER_LOUDEST_NEPERS) * (1 - attack)
    assert (mel + texture).tolist() == pytest.approx([most, most, 2.95, -6.0])


def test_at_an_attack_the_loudest_bin_alone_decides() -> None:
    mel, texture, share = (np.array(x, np.float32) for x in ([2.0, 1.0], [1.0, 4.0], [0.0, 1.0]))
    limit_texture(mel, share, texture)
    assert (mel + texture).tolist() == pytest.approx([2.4, 2.4])
