import pytest

from specdiffd.metrics import Durations, Stopwatch, summary_ms


def test_durations_keep_the_last_and_count_all() -> None:
    durations = Durations(size=100)
    for k in range(1000):
        durations.add(k / 1000)
    assert durations.count == 1000
    assert durations.percentile_ms(50) == pytest.approx(949.5)
    assert durations.summary()["max_ms"] == 999.0


def test_nothing_measured_is_none() -> None:
    assert Durations().percentile_ms(99) is None
    assert summary_ms([]) == {"min_ms": None, "p50_ms": None, "p99_ms": None, "max_ms": None}


def test_laps_of_one_name_add_up() -> None:
    watch = Stopwatch()
    watch.start()
    for name in ("a", "b", "a"):
        watch.lap(name)
    assert set(watch.laps) == {"a", "b"}
    assert watch.total == pytest.approx(sum(watch.laps.values()))
