"""The table of controllers: values after power-up, what a reset sets back, and what each does to its curve."""

import math

import pytest

from specdiffd.base.events import Controllers
from specdiffd.base.messages import CONTROLLERS, CURVES, DEFAULTS, EXPRESSION, MODULATION, REVERB, SUSTAIN, VOLUME, gain_db


def test_every_controller_moves_a_curve_that_instruments_have() -> None:
    for number, row in CONTROLLERS.items():
        assert row.number == number
        assert row.curve in CURVES
        assert hasattr(Controllers(), row.curve)
        assert 0 <= row.default <= 127
    assert {row.curve for row in CONTROLLERS.values()} == set(CURVES)


def test_defaults_are_those_of_general_midi() -> None:
    assert DEFAULTS == {MODULATION: 0, VOLUME: 100, EXPRESSION: 127, SUSTAIN: 0, REVERB: 40}


def test_a_reset_of_controllers_leaves_volume_and_reverberation() -> None:
    """RP-015."""
    assert [row.number for row in CONTROLLERS.values() if not row.reset] == [VOLUME, REVERB]


@pytest.mark.parametrize(
    ("volume", "expression", "db"), [(127, 127, 0.0), (64, 127, -11.91), (127, 64, -11.91), (32, 64, -35.85), (1, 1, -96)]
)
def test_gain_is_forty_logs_of_volume_times_expression(volume: int, expression: int, db: float) -> None:
    assert gain_db(volume, expression) == pytest.approx(db, abs=0.01)


def test_gain_rises_with_both_and_is_never_infinite() -> None:
    table = [[gain_db(volume, expression) for expression in range(128)] for volume in range(128)]
    assert all(math.isfinite(db) and -96 <= db <= 0 for row in table for db in row)
    assert all(row == sorted(row) for row in table)
    assert all(list(column) == sorted(column) for column in zip(*table, strict=True))
    assert table[0][127] == table[127][0] == -96


@pytest.mark.parametrize(("value", "down"), [(0, 0.0), (63, 0.0), (64, 1.0), (127, 1.0)])
def test_a_pedal_is_down_from_the_middle_on(value: int, down: float) -> None:
    assert CURVES["pedal"]({**DEFAULTS, SUSTAIN: value}) == down


@pytest.mark.parametrize(("curve", "number"), [("modulation", MODULATION), ("reverb", REVERB)])
def test_wheel_and_send_are_shares(curve: str, number: int) -> None:
    found = [CURVES[curve]({**DEFAULTS, number: value}) for value in (0, 64, 127)]
    assert found == pytest.approx([0, 64 / 127, 1])
