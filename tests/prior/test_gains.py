"""Gain tables against NumPy's interpolation, in both forms: the torch form that trains, the compiled one that plays."""

import numpy as np
import pytest
import torch

from specdiffd.base.mel_scale import hz_to_mel
from specdiffd.base.mel_scale_kernels import MelAxis
from specdiffd.prior import gains, gains_kernels
from specdiffd.prior.config import BAND, COLOUR_AGES_S, COLOURED, DETAIL_AGES, DETAIL_AGES_S, DETAIL_BINS, DYNAMICS, PriorConfig
from specdiffd.prior.gains_kernels import GainTables, gains_at, note_gains

CONFIG = PriorConfig(mel_bins=32)
BINS, AGES = CONFIG.mel_bins, len(DETAIL_AGES_S)
AXIS = MelAxis(np.float32(CONFIG.lowest_mel + CONFIG.mels_per_bin), np.float32(1 / CONFIG.mels_per_bin))
POINTS = [DYNAMICS, COLOUR_AGES_S, DETAIL_AGES_S, (0.0, 1.0)]


def random_tables(rows: int = 3, codes: int = 6) -> GainTables:
    """Tables of a few keys, with every pattern in use."""
    rng = np.random.default_rng(2)
    upper, fraction = gains.interpolation_place(torch.tensor(DETAIL_AGES_S), COLOUR_AGES_S)
    return GainTables(
        colours=rng.normal(0, 0.5, (rows, len(COLOUR_AGES_S), BINS)).astype(np.float32),
        colour_upper=upper.numpy(),
        colour_fraction=fraction.numpy(),
        dynamics=rng.normal(0, 0.5, (rows, len(DYNAMICS), BINS // BAND)).astype(np.float32),
        velocities=np.array(DYNAMICS, np.float32),
        details=rng.integers(codes, size=(rows, AGES // DETAIL_AGES, BINS // DETAIL_BINS)).astype(np.uint8),
        patterns=rng.normal(0, 0.5, (codes, DETAIL_AGES, DETAIL_BINS)).astype(np.float32),
        roughness=np.zeros((rows, BINS // BAND), np.float32),
    )


def log_gains(tables: GainTables, row: int, velocity: float) -> np.ndarray:
    """Log gains (ages, mel) of a row at its key's own pitch, by NumPy."""
    out = np.empty((AGES, BINS))
    for m in range(BINS):
        colour = np.interp(DETAIL_AGES_S, COLOUR_AGES_S, tables.colours[row, :, m])
        dynamics = np.interp(velocity, DYNAMICS, tables.dynamics[row, :, m // BAND])
        for j in range(AGES):
            code = tables.details[row, j // DETAIL_AGES, m // DETAIL_BINS]
            out[j, m] = colour[j] + dynamics + tables.patterns[code, j % DETAIL_AGES, m % DETAIL_BINS]
    return out


@pytest.mark.parametrize("points", POINTS)
def test_interpolation_is_that_of_numpy(points: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate((rng.uniform(points[0] - 1, points[-1] + 1, 200), points)).astype(np.float32)
    values = rng.normal(size=(len(points), 5))
    weights = gains.interpolation_weights(torch.from_numpy(x), points).double().numpy()
    expected = np.stack([np.interp(x, points, column) for column in values.T], -1)
    np.testing.assert_allclose(weights @ values, expected, atol=1e-4)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert ((weights > 0).sum(1) <= 2).all()


@pytest.mark.parametrize("points", POINTS)
def test_both_forms_find_the_same_place(points: tuple[float, ...]) -> None:
    """The index may differ where a point itself is asked for; what is interpolated there may not."""
    places, values = np.array(points, np.float32), np.arange(len(points), dtype=np.float32) ** 2
    for x in np.linspace(points[0] - 0.5, points[-1] + 0.5, 300).astype(np.float32):
        upper, fraction = gains_kernels.interpolation_place(x, places)
        assert 1 <= upper < len(points)
        found = (1 - fraction) * values[upper - 1] + fraction * values[upper]
        assert found == pytest.approx(float(np.interp(x, places, values)), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("velocity", [0.0, 0.15, 0.4, 1.0])
@pytest.mark.parametrize("row", [0, 2])
def test_a_notes_gains_are_colours_dynamics_and_details(row: int, velocity: float) -> None:
    tables, found = random_tables(), np.empty((AGES, BINS), np.float32)
    note_gains(tables, row, np.float32(velocity), np.float32(0), AXIS, found)
    # the last bin is a thousandth of a bin short of itself
    np.testing.assert_allclose(np.log(found) / 2, log_gains(tables, row, velocity), atol=4e-3)


@pytest.mark.parametrize("semitones", [-12.0, -1.5, 0.3, 7.0])
def test_transposed_gains_move_along_the_mel_axis_with_the_pitch(semitones: float) -> None:
    tables, found = random_tables(), np.empty((AGES, BINS), np.float32)
    note_gains(tables, 1, np.float32(0.5), np.float32(semitones), AXIS, found)
    own = log_gains(tables, 1, 0.5)
    edges_mel = CONFIG.lowest_mel + CONFIG.mels_per_bin * np.arange(BINS + 2)
    centres_hz = 700 * np.expm1(edges_mel[1:-1] / 1127)
    source_mel = hz_to_mel(centres_hz / 2 ** (semitones / 12))
    expected = np.stack([np.interp(source_mel, edges_mel[1:-1], row) for row in own])
    np.testing.assert_allclose(np.log(found) / 2, expected, atol=4e-3)
    by_torch = gains.transposed_gains(torch.from_numpy(own)[None].float(), torch.tensor([semitones]), CONFIG)[0]
    np.testing.assert_allclose(by_torch.numpy(), expected, atol=4e-3)


def test_gains_between_two_ages_are_interpolated() -> None:
    tables = random_tables()
    table, found = np.empty((AGES, BINS), np.float32), np.empty(BINS, np.float32)
    note_gains(tables, 0, np.float32(0.5), np.float32(0), AXIS, table)
    for age_s in (-1.0, -0.04, 0.003, 0.2, 0.77, 1.9, 30.0):
        gains_at(np.float32(age_s), np.array(DETAIL_AGES_S, np.float32), table, found)
        expected = [np.interp(age_s, DETAIL_AGES_S, column) for column in table.T]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_codes_stand_for_patterns_of_ages_and_bins() -> None:
    tables = random_tables()
    codes = tables.details[:1].astype(np.int64).reshape(1, -1)
    patterns = torch.from_numpy(tables.patterns.reshape(len(tables.patterns), -1))[torch.from_numpy(codes)]
    found = gains.detail_gains(patterns)[0]
    expected = log_gains(tables._replace(colours=tables.colours * 0, dynamics=tables.dynamics * 0), 0, 0.5)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_keys_beyond_the_tables_take_the_nearest_row() -> None:
    keys = gains.table_key(torch.tensor([0, 20, 21, 60, 108, 127]))
    assert keys.tolist() == [COLOURED[0], COLOURED[0], 21, 60, COLOURED[-1], COLOURED[-1]]
