"""A million random channel messages: the daemon lives, stays as small as it was, answers and falls silent at once, and plays on.

``make fuzz`` sends them to the built-in instrument; FLOOD_MESSAGES and FLOOD_SEED choose others.
"""

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import pytest
import zmq
from running import daemon, loudness, wait_until

from specdiffd.control.client import ControlClient

BATCH = 5000
PROMPT_S = 0.05
SOUND_BACK_S = 1.0


def messages(count: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for k in range(count):
        args = {"status": rng.randrange(0x80, 0xF0), "data1": rng.randrange(128), "data2": rng.randrange(128)}
        yield msgspec.json.encode({"v": 1, "id": k, "cmd": "midi", "args": args})


def pss_mb(client: ControlClient) -> float:
    """Of the engine and the supervisor's other children."""
    pids = [pid for pid in client.call("status")["processes"].values() if pid]
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in pids]
    return sum(int(line.split()[1]) for lines in rollups for line in lines if line.startswith("Pss:")) / 1e3


@contextmanager
def pouring(endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        yield socket


def pour(socket: zmq.Socket[bytes], batch: list[bytes]) -> dict[str, int]:
    """Send all of them as fast as they are answered; what was said, by code."""
    said: dict[str, int] = {}
    due = 0
    for message in batch:
        socket.send(message)
        due += 1
        while due and (due > 500 or socket.poll(0)):
            reply = msgspec.json.decode(socket.recv())
            said[code] = said.get(code := "ok" if reply["ok"] else reply["error"]["code"], 0) + 1
            due -= 1
    for _ in range(due):
        assert socket.poll(10_000)
        socket.recv()
    return said


def flood(folder: Path, count: int, seed: int, fake: bool) -> dict[str, float]:
    """Everything that is asserted of a flood, as figures."""
    pings, panics, backs, memory = [], [], [], []
    with daemon(folder, "-o", "engine.standby=false", "-o", "engine.render_delay_ms=60", fake=fake) as (process, client):
        pid = client.call("status")["processes"]["engine"]
        source = messages(count, seed)
        with pouring(client.endpoint) as socket:
            for number in range(count // BATCH):
                pour(socket, [next(source) for _ in range(BATCH)])
                pings.append(timed(client, "ping"))
                if number % 4 == 3:
                    panics.append(timed(client, "panic"))
                    backs.append(sound_back(client))
                memory.append(pss_mb(client))
        status = client.call("status")
        assert status["processes"]["engine"] == pid, "the engine was replaced"
        assert process.poll() is None
    early = max(1, len(memory) // 5)
    return {
        "ping_ms": 1e3 * median(pings),
        "ping_worst_ms": 1e3 * max(pings),
        "panic_worst_ms": 1e3 * max(panics),
        "sound_back_worst_s": max(backs),
        "memory_mb": memory[-1],
        "memory_growth_mb": float(np.max(memory[early:]) - np.max(memory[:early])),
    }


def timed(client: ControlClient, command: str) -> float:
    started_s = time.monotonic()
    client.call(command)
    return time.monotonic() - started_s


def sound_back(client: ControlClient) -> float:
    """From a panic until a note that is struck after it stands in the forecast."""
    started_s = time.monotonic()
    wait_until(lambda: not client.call("status")["sounding_notes"])
    client.call("note_on", pitch=60, velocity=100)
    wait_until(lambda: (s := client.call("status")) and [n["pitch"] for n in s["sounding_notes"]] == [60] and s["forecast_s"] > 0.05)
    return time.monotonic() - started_s


def check(figures: dict[str, float]) -> None:
    sys.stderr.write(f"flood: {figures}\n")
    assert figures["ping_ms"] < 1e3 * PROMPT_S
    assert figures["panic_worst_ms"] < 1e3 * PROMPT_S
    assert figures["sound_back_worst_s"] < SOUND_BACK_S
    assert figures["memory_growth_mb"] < 60


def test_forty_thousand_random_messages(tmp_path: Path) -> None:
    check(flood(tmp_path, 40_000, 1, fake=True))


@pytest.mark.slow
def test_a_million_random_messages(tmp_path: Path) -> None:
    count, seed = int(os.environ.get("FLOOD_MESSAGES", 1_000_000)), int(os.environ.get("FLOOD_SEED", 7))
    check(flood(tmp_path, count, seed, fake=False))


@pytest.mark.slow
def test_two_thousand_notes_a_second_are_heard_as_far_as_they_can_be(tmp_path: Path) -> None:
    """Twenty seconds of it were twenty seconds of silence."""
    recording, rng = tmp_path / "out.wav", random.Random(5)
    with (
        daemon(tmp_path, "-o", "engine.standby=false", "-o", f"audio.device=wav:{recording}", fake=False) as (_, client),
        pouring(client.endpoint) as socket,
    ):
        started_s, sent = time.monotonic(), 0
        while (now_s := time.monotonic() - started_s) < 20:
            for _ in range(int(2000 * now_s) - sent):
                pitch, channel = rng.randrange(21, 109), rng.randrange(16)
                for status, velocity in ((0x90, rng.randrange(20, 127)), (0x80, 0)):
                    args = {"status": status | channel, "data1": pitch, "data2": velocity}
                    socket.send(msgspec.json.encode({"v": 1, "id": sent, "cmd": "midi", "args": args}))
                sent += 1
            while socket.poll(2):
                socket.recv()
        counters = client.call("status")["counters"]
        client.call("panic")
    levels = loudness(recording)
    sounding = np.flatnonzero(levels > 1e-3)
    silent = float((levels[sounding[0] : sounding[-1]] <= 1e-3).mean())
    sys.stderr.write(f"2,000 notes a second: silent {100 * silent:.1f} %, {counters}\n")
    assert (sounding[-1] - sounding[0]) * 0.02 > 19
    assert silent < 0.15  # who sends them takes a core of two
