from types import SimpleNamespace

import pytest

from specdiffd.base.metrics import Durations, Stopwatch, summary_ms


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


def test_laps_of_one_name_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lap ends when the work that it has queued is finished."""
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr("specdiffd.base.metrics.time", SimpleNamespace(perf_counter=lambda: now.s))

    def settle() -> None:
        now.s += 0.5

    watch = Stopwatch(settle)
    watch.start()
    for name, takes_s in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        now.s += takes_s
        watch.lap(name)
    assert watch.laps == {"a": 5.0, "b": 2.5}
    assert str(watch) == "a 5000.0, b 2500.0"
