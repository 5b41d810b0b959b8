"""What dies comes back, and what was held is held."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peers import RATE, Peer, Server, level, running_daemon

ORGAN = bytes([0xC0, 16])
MEASURED = ("-o", "engine.render_delay_ms=60")  # long enough anywhere; measuring it takes ten seconds


def wait_until(condition: Callable[[], Any], timeout_s: float = 30.0) -> float:
    """How many seconds it took."""
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - started_s


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def test_a_killed_engine_is_not_missed(tmp_path: Path) -> None:
    """A held organ note while the engine is killed: the forecast bridges it until the standby has taken over."""
    with Server(tmp_path):
        before = shared_memory()
        with running_daemon(tmp_path, *MEASURED) as client, Peer() as peer:
            wait_until(lambda: client.call("status")["processes"]["standby"])
            peer.play([(0.0, ORGAN), (0.1, bytes([0x90, 60, 100]))], 1.0)
            os.kill(client.call("status")["processes"]["engine"], signal.SIGKILL)
            audio = peer.play([(2.5, bytes([0x90, 67, 110]))], 4.0)
            status = client.call("status")
            counters = status["counters"]
            assert counters["restarts"] == {"io": 0, "engine": 1, "standby": 0}
            assert counters["missing_samples"] == counters["stale_fades"] == 0
            assert {n["pitch"] for n in status["sounding_notes"]} == {60, 67}
            block = RATE // 20  # of several periods of the server, which loses single ones on a busy machine
            levels = [level(x) for x in audio[: len(audio) // block * block].reshape(-1, block)]
            assert min(levels) > 0.3 * np.median(levels)
            os.kill(status["processes"]["engine"], signal.SIGKILL)  # and once more, before there is a standby again
            silent_s = wait_until(lambda: client.call("status")["counters"]["restarts"]["engine"] == 2)
            silent_s += wait_until(lambda: client.call("status")["forecast_s"] > 0.5 and client.call("status")["render_delay_ms"])
            sys.stdout.write(
                f"engine killed: level {min(levels) / np.median(levels):.2f} with a standby, back in {silent_s:.1f} s without\n"
            )
            assert silent_s < 20  # it has to be loaded
            assert {n["pitch"] for n in client.call("status")["sounding_notes"]} == {60, 67}
            assert level(peer.play([], 0.5)) > 0.3 * np.median(levels)
        assert shared_memory() <= before


def test_a_server_that_goes_and_comes_back(tmp_path: Path) -> None:
    """jackd is stopped for three seconds: held notes, programs and gain are there again, within 4 s of its return."""
    with Server(tmp_path) as server, running_daemon(tmp_path, *MEASURED) as client:
        with Peer() as peer:
            before = peer.play([(0.0, ORGAN), (0.0, bytes([0xC1, 73])), (0.1, bytes([0x90, 60, 100]))], 1.0)
        client.call("gain", db=-3)
        server.stop()
        wait_until(lambda: client.call("status")["audio"]["output"] is None)
        wait_until(lambda: client.call("status")["audio"]["waiting"])
        time.sleep(3)
        client.call("ping")
        server.start()
        back_s = wait_until(lambda: client.call("status")["audio"]["output"], 10)
        sys.stdout.write(f"audio back {back_s:.1f} s after its server\n")
        assert back_s < 4
        status = client.call("status")
        assert [n["pitch"] for n in status["sounding_notes"]] == [60]
        assert status["programs"][:2] == [16, 73]
        assert status["counters"]["restarts"]["engine"] == 0
        with Peer() as peer:
            after = peer.play([(0.5, bytes([0x80, 60, 0]))], 2.0)
            assert level(after[: RATE // 4]) > 0.4 * level(before[RATE // 2 :])
            assert level(after[-RATE // 4 :]) < 0.05 * level(before[RATE // 2 :])
            assert level(peer.play([(0.1, bytes([0x90, 72, 110]))], 1.0)) > 1e-3
