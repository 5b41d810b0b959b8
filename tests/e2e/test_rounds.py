"""Rounds of killing and stopping processes, alone and in pairs, with the built-in instrument: `make rounds`, an hour."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

import jack
import numpy as np
import pytest
from numpy.typing import NDArray
from peers import RATE, Audio, Peer, Server, level, running_daemon
from test_recovery import MEASURED, ORGAN, wait_until

from specdiffd.control.client import ControlClient

pytestmark = pytest.mark.slow
TARGETS = (("engine",), ("io",), ("standby",), ("engine", "io"), ("engine", "standby"), ("io", "standby"))
ROUNDS = [*product((signal.SIGKILL, signal.SIGSTOP), TARGETS)] * 2  # 24
BLOCK_S, STEP_S = 0.05, 3.0
# Seconds until the sound is back, as the manual states them: noticing (at once, or 5 s without a sign of life) and starting anew.
# What a standby and the forecast bridge is not missed at all.
NOTICED_S = {signal.SIGKILL: 0.0, signal.SIGSTOP: 6.0}
STARTED_S = {"idle": {"io": 3.0, "engine": 25.0}, "loaded": {"io": 8.0, "engine": 90.0}}


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Programs beside us that take all they get."""
    found = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in found:
            process.kill()
            process.wait()


def heard_by(peer: Peer, seconds: float) -> Audio:
    """What is heard by an ear that follows whoever plays."""
    over = threading.Event()

    def follow() -> None:
        while not over.wait(0.05):
            with suppress(jack.JackError):  # it may go at any moment
                peer.connect()

    follower = threading.Thread(target=follow)
    follower.start()
    audio = peer.play([], seconds)
    over.set()
    follower.join()
    return audio


def silent_blocks(audio: Audio, usual: float) -> NDArray[np.intp]:
    """Which blocks are far below the usual level."""
    samples = round(BLOCK_S * RATE)
    blocks = audio[: len(audio) // samples * samples].reshape(-1, samples)
    return np.flatnonzero([level(block) < 0.3 * usual for block in blocks])


def heard_until_back(client: ControlClient, peer: Peer, usual: float, deaths: int, longest_s: float) -> tuple[float, float]:
    """Listen until nothing is silent any more and so many deaths are counted: when the sound was back, and how long it was away."""
    started_s = time.monotonic()
    back_s = silent_s = 0.0
    while (begun_s := time.monotonic() - started_s) < longest_s:
        silent = silent_blocks(heard_by(peer, STEP_S), usual)
        silent_s += len(silent) * BLOCK_S
        if len(silent):
            back_s = begun_s + float(silent[-1] + 1) * BLOCK_S
        elif counted(client) >= deaths:
            break
    return back_s, silent_s


def counted(client: ControlClient) -> int:
    """Deaths so far."""
    return sum(client.call("status")["counters"]["restarts"].values())


def rested(client: ControlClient, targets: tuple[str, ...]) -> bool:
    """Nothing sounds, and all is there that is to be lost. A standby is made while nothing sounds."""
    status = client.call("status")
    return all(status["processes"][name] for name in {"io", "engine", *targets}) and status["audio"]["output"] and status["asleep"]


def bound_s(number: signal.Signals, targets: tuple[str, ...], load: str, standby: bool) -> float:
    lost = [name for name in ("io", "engine") if name in targets and (name == "io" or "standby" in targets or not standby)]
    return NOTICED_S[number] * len(targets) + max((STARTED_S[load][name] for name in lost), default=0.0)


@pytest.mark.parametrize(("load", "loops"), [("idle", 0), ("loaded", 2)])
def test_what_is_killed_or_stopped_comes_back(tmp_path: Path, load: str, loops: int) -> None:
    rows, failed = [], []
    with Server(tmp_path), running_daemon(tmp_path, *MEASURED) as client, Peer() as peer, busy(loops):
        for number, targets in ROUNDS:
            needed = targets if loops else ("standby", *targets)  # on a busy machine that takes minutes
            wait_until(lambda needed=needed: rested(client, needed), 600)
            peer.connect()
            peer.play([(0.0, ORGAN), (0.1, bytes([0x90, 60, 100]))], 1.0)
            usual = level(peer.play([], 0.5))
            assert usual > 1e-3
            before = client.call("status")
            bound = bound_s(number, targets, load, before["processes"]["standby"] is not None)
            for name in targets:
                os.kill(before["processes"][name], number)
            died = sum(before["counters"]["restarts"].values())
            back, silent = heard_until_back(client, peer, usual, died + len(targets), bound + 15.0)
            after = client.call("status")
            deaths = sum(after["counters"]["restarts"].values()) - died
            kept = [n for n, pid in before["processes"].items() if pid and n not in targets and pid not in after["processes"].values()]
            row = {"signal": number.name, "of": "+".join(targets), "back_s": round(back, 2), "silent_s": round(silent, 2), "bound_s": bound}
            rows.append(row | {"deaths": deaths, "lost": kept})
            sys.stdout.write(f"{load} {json.dumps(rows[-1])}\n")
            sys.stdout.flush()
            if back > bound or deaths != len(targets) or kept or [n["pitch"] for n in after["sounding_notes"]] != [60]:
                failed.append(rows[-1])
            client.call("note_off", pitch=60)
    assert not failed
