"""What a channel remembers: registered parameters take data in either order, and a reset leaves what RP-015 leaves."""

import pytest

from specdiffd.base.messages import (
    DATA,
    DATA_FINE,
    DEFAULTS,
    EXPRESSION,
    MODULATION,
    NRPN,
    NRPN_FINE,
    REVERB,
    RPN,
    RPN_FINE,
    SUSTAIN,
    VOLUME,
)
from specdiffd.midi.channel import CENTRE, Channel


def sent(*messages: tuple[int, int]) -> Channel:
    """A channel that controllers (number, value) have been sent to, those that choose and fill parameters."""
    channel = Channel()
    for control, value in messages:
        (channel.enter if control in (DATA, DATA_FINE) else channel.select)(control, value)
    return channel


BEND, FINE, COARSE = (((RPN, 0), (RPN_FINE, number)) for number in range(3))


@pytest.mark.parametrize(
    ("data", "semitones"),
    [
        (((DATA, 12),), 12.0),
        (((DATA, 12), (DATA_FINE, 50)), 12.5),
        (((DATA_FINE, 50), (DATA, 12)), 12.5),
        (((DATA, 1), (DATA_FINE, 127)), 1.99),
    ],
)
def test_the_bend_range_is_in_semitones_and_cents(data: tuple[tuple[int, int], ...], semitones: float) -> None:
    """More than 99 cents are 99."""
    assert sent(*BEND, *data).bend_range_semitones == pytest.approx(semitones)


@pytest.mark.parametrize(
    ("coarse", "fine", "semitones"), [(64, 0, 0.0), (0, 0, -1.0), (127, 127, 8191 / 8192), (96, 0, 0.5), (64, 1, 1 / 8192)]
)
def test_fine_tuning_has_fourteen_bits_over_two_semitones(coarse: int, fine: int, semitones: float) -> None:
    assert sent(*FINE, (DATA, coarse), (DATA_FINE, fine)).tuning_semitones == pytest.approx(semitones)
    assert sent(*FINE, (DATA_FINE, fine), (DATA, coarse)).tuning_semitones == pytest.approx(semitones)


@pytest.mark.parametrize(("value", "semitones"), [(64, 0), (0, -64), (127, 63), (76, 12)])
def test_coarse_tuning_is_in_semitones_from_the_middle(value: int, semitones: int) -> None:
    assert sent(*COARSE, (DATA, value), (DATA_FINE, 99)).transposition_semitones == semitones


def test_parameters_add_up_with_the_wheel() -> None:
    channel = sent(*BEND, (DATA, 12), *FINE, (DATA, 96), *COARSE, (DATA, 67))
    channel.bend = CENTRE + CENTRE // 2
    assert channel.pitch_semitones == pytest.approx(6 + 0.5 + 3)
    channel.bend = 0
    assert channel.pitch_semitones == pytest.approx(-12 + 0.5 + 3)


@pytest.mark.parametrize("selection", [((RPN, 127), (RPN_FINE, 127)), ((NRPN, 1), (NRPN_FINE, 8)), ((RPN, 0), (RPN_FINE, 5)), ()])
def test_data_for_no_parameter_of_ours_goes_nowhere(selection: tuple[tuple[int, int], ...]) -> None:
    assert sent(*selection, (DATA, 12), (DATA_FINE, 3)).pitch_semitones == 0.0
    assert sent(*selection, (DATA, 12)).bend_range_semitones == 2.0


def test_half_of_a_selection_goes_with_the_other_half_from_before() -> None:
    """Some keyboards send only the number that changes."""
    channel = sent(*BEND, (DATA, 7), (RPN_FINE, 2), (DATA, 70))
    assert (channel.bend_range_semitones, channel.transposition_semitones) == (7.0, 6)


def test_a_registered_parameter_is_chosen_again_after_another_kind() -> None:
    channel = sent(*BEND, (NRPN, 3), (DATA, 9))
    assert channel.bend_range_semitones == 2.0
    channel.select(RPN_FINE, 0)
    channel.enter(DATA, 9)
    assert channel.bend_range_semitones == 9.0


def test_a_reset_of_controllers_leaves_tuning_program_volume_and_bend_range() -> None:
    channel = sent(*BEND, (DATA, 12), *COARSE, (DATA, 65))
    channel.program, channel.bend = 40, 0
    channel.values = {VOLUME: 50, EXPRESSION: 60, MODULATION: 70, SUSTAIN: 80, REVERB: 90}
    channel.reset_controllers()
    assert channel.values == {VOLUME: 50, EXPRESSION: 127, MODULATION: 0, SUSTAIN: 0, REVERB: 90}
    assert (channel.program, channel.bend_range_semitones, channel.pitch_semitones) == (40, 12.0, 1.0)
    channel.enter(DATA, 20)
    assert channel.transposition_semitones == 1, "no parameter is chosen any more"


def test_channels_share_nothing() -> None:
    first, second = Channel(), Channel()
    first.values[VOLUME] = 1
    assert second.values == DEFAULTS
    assert first.held is not second.held


@pytest.mark.parametrize(("value", "down"), [(63, False), (64, True)])
def test_the_pedal_is_down_from_the_middle_on(value: int, down: bool) -> None:
    channel = Channel()
    channel.values[SUSTAIN] = value
    assert channel.pedal == down
