from specdiffd.base.formats import first_frame_at
from specdiffd.instruments.sine import SineInstrument, SineState
from specdiffd.player.forecast import Forecast

SINE = SineInstrument()


def test_sound_is_in_the_first_frame_that_reaches_over_its_onset() -> None:
    """Frame i covers the samples from 320 i to 320 i + 640."""
    assert [first_frame_at(at, SINE) for at in (0, 639, 640, 641, 959.9999999, 960)] == [-1, 0, 1, 1, 2, 2]


def test_it_goes_back_to_the_shortest_state_that_has_all_frames_before() -> None:
    forecast = Forecast([SineState(0, 10), SineState(0, 20), SineState(0, 30)])
    assert forecast.go_back(SINE, 15) == SineState(0, 15)
    assert forecast.states == [SineState(0, 10)]


def test_after_its_end_it_goes_on_from_the_longest_state() -> None:
    forecast = Forecast([SineState(0, 10), SineState(0, 20)])
    assert forecast.go_back(SINE, 25) == SineState(0, 20)


def test_before_its_beginning_there_is_no_state() -> None:
    forecast = Forecast([SineState(5, 10)])
    assert forecast.go_back(SINE, 4) is None
    assert forecast.states == []
    assert forecast.go_back(SINE, 4) is None


def test_it_forgets_states_that_are_heard_but_never_the_last() -> None:
    forecast = Forecast([SineState(0, 10), SineState(0, 20), SineState(0, 30)])
    forecast.forget(15)
    assert forecast.states == [SineState(0, 20), SineState(0, 30)]
    forecast.forget(35)
    assert forecast.states == [SineState(0, 30)]
