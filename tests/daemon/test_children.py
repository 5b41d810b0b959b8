import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest

from specdiffd.daemon import children
from specdiffd.daemon.children import Child, Work
from specdiffd.shared.messages import Alive, Go, Loaded, News, Stop, receive_order, send


def obedient(pipe: Connection) -> None:
    """Says so when it is loaded, answers everything, even what is no message to the supervisor."""
    send(pipe, Loaded())
    while not isinstance(receive_order(pipe), Stop):
        pipe.send_bytes(b"rubbish")
        send(pipe, Alive())


def forked(target: Callable[[Connection], None]) -> Callable[[Connection], BaseProcess]:
    return lambda pipe: multiprocessing.get_context("spawn").Process(target=target, args=(pipe,), daemon=True)


@pytest.fixture
def child() -> Child:
    return Child("engine", forked(obedient))


def until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def heard(child: Child) -> list[type[News]]:
    return [type(message) for message in child.messages()]


def test_it_starts_is_told_and_ends(child: Child) -> None:
    assert child.due
    child.start()
    until(lambda: Loaded in heard(child))
    assert child.end()
    assert child.pid is None


def test_a_death_is_seen_until_it_is_buried(child: Child) -> None:
    child.start()
    until(lambda: heard(child))
    os.kill(child.pid or 0, signal.SIGKILL)
    until(lambda: child.died)
    assert not child.due
    assert child.bury() == -signal.SIGKILL
    assert child.failures == 1
    assert not child.died
    until(lambda: child.due)


def test_bytes_that_are_no_message_are_left_out_and_logged(child: Child, caplog: pytest.LogCaptureFixture) -> None:
    child.start()
    until(lambda: Loaded in heard(child))
    child.send(Go(48000))
    said: list[type[News]] = []
    until(lambda: said.extend(heard(child)) or said)
    assert said == [Alive]
    assert "cannot be read" in caplog.text
    assert child.end()


def test_a_child_that_starts_has_time_as_long_as_it_says_what_it_does(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "START_TIMEOUT_S", 0.2)
    child.start()
    until(lambda: heard(child))
    assert not child.stuck()
    until(child.stuck)
    child.send(Go(48000))
    until(lambda: heard(child))
    assert not child.stuck()
    child.kill()
    assert not child.stuck()


def test_one_that_plays_is_stuck_when_it_gives_no_sign_of_life(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of its own is counted, an older one of the process before it is no reason to kill it."""
    monkeypatch.setattr(children, "ALIVE_S", 0.2)
    child.start()
    until(lambda: heard(child))
    child.loaded = True
    assert not child.stuck(alive_ns=1)
    until(lambda: child.stuck(alive_ns=1))
    assert not child.stuck(alive_ns=time.monotonic_ns())
    child.send(Go(48000))  # it has time to heed that
    assert not child.stuck(alive_ns=1)
    child.kill()


IDLE = [(119, 0.5, False), (150, 1.0, False), (2000, 60.0, False), (2119, 60.0, False), (2121, 60.0, True)]
BUSY = [(100, 100.0, False), (119, 119.0, False), (125, 119.5, False), (126, 120.5, True)]


@pytest.mark.parametrize("seen", [IDLE, BUSY])
def test_one_that_starts_is_given_the_time_that_it_works(
    child: Child, monkeypatch: pytest.MonkeyPatch, seen: list[tuple[float, float, bool]]
) -> None:
    """On a busy machine a standby gets little of the processor; one that does nothing, or works on and on, is stuck."""
    now = Work(0, 0.0)
    monkeypatch.setattr(Work, "of", classmethod(lambda cls, pid: now))
    child.start()
    for seconds, processor_s, stuck in seen:
        now = Work(round(seconds * 1e9), processor_s)
        assert child.stuck() == stuck
    child.kill()


def test_the_system_tells_how_much_a_process_has_worked() -> None:
    before = Work.of(os.getpid())
    while time.monotonic_ns() < before.time_ns + 10**8:
        pass
    assert Work.of(os.getpid()).processor_s - before.processor_s > 0.02
    assert Work.of(None).processor_s == 0


@pytest.mark.parametrize(("healthy_s", "failures"), [(0.0, 1), (60.0, 2)])
def test_one_that_was_ready_for_long_has_not_died_of_what_others_died_of(
    child: Child, monkeypatch: pytest.MonkeyPatch, healthy_s: float, failures: int
) -> None:
    """So that a device process that is lost once a week comes back as fast as the first time."""
    monkeypatch.setattr(children, "HEALTHY_S", healthy_s)
    child.failures = 1
    child.start()
    child.ready({"audio": "there"})
    child.kill()
    child.bury()
    assert child.failures == failures
