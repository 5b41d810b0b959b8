from specdiffd.player.delay import BELOW_REVISIONS, DOWN_REVISIONS, UP_REVISIONS, RenderDelay
from specdiffd.player.rehearsal import MARGIN_S


def played(delay: RenderDelay, count: int, needed_s: float) -> None:
    for _ in range(count):
        delay.add(delay.seconds - needed_s)


def test_it_goes_up_soon_and_comes_back_within_a_minute_of_playing() -> None:
    delay = RenderDelay(0.0289, fixed=False)
    played(delay, UP_REVISIONS, 0.096)  # a busy minute
    assert delay.move()
    assert abs(delay.seconds - 0.101) < 1e-9
    played(delay, DOWN_REVISIONS - 1, 0.015)
    assert not delay.move()
    played(delay, 1, 0.015)
    assert delay.move()
    assert delay.seconds == 0.0289  # what was measured at the start, though less was needed


def test_below_what_was_measured_it_takes_more_to_believe() -> None:
    delay = RenderDelay(0.061, fixed=False)
    played(delay, BELOW_REVISIONS - 1, 0.020)
    assert not delay.move()
    played(delay, 1, 0.020)
    assert delay.move()
    assert abs(delay.seconds - 0.020 - MARGIN_S) < 1e-9


def test_it_stays_where_it_is_right() -> None:
    delay = RenderDelay(0.03, fixed=False)
    for needed_s in (0.0225, 0.0275):
        played(delay, 1000, needed_s)
        assert not delay.move()


def test_few_revisions_say_nothing() -> None:
    delay = RenderDelay(0.03, fixed=False)
    assert not delay.move()
    played(delay, UP_REVISIONS - 1, 0.1)
    assert not delay.move()


def test_a_fixed_one_is_never_moved() -> None:
    delay = RenderDelay(0.03, fixed=True)
    played(delay, 1000, 0.1)
    assert not delay.move()
    assert delay.seconds == 0.03
