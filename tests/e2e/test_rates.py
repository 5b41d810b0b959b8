"""Servers of other rates, and one that comes back with another."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from peers import RATE, Peer, Server, loudest_hz, running_daemon
from test_keyboards import ON, SINES, sounding, until

from specdiffd.daemon.children import Work


def test_the_daemon_takes_the_servers_rate(tmp_path: Path) -> None:
    """The sine is as high at 44.1 kHz, and what is held sounds on when the server is another one."""
    with Server(tmp_path, 44100) as server, running_daemon(tmp_path, *SINES) as client:
        assert "44100 Hz" in client.call("status")["audio"]["output"]
        with Peer() as peer:
            audio = peer.play([(0.1, ON)], 1.5)[: 44100 * 3 // 2]
        assert loudest_hz(audio[22050:]) * 44100 / RATE == pytest.approx(440, abs=3)
        client.call("note_on", pitch=81)
        until(lambda: sounding(client) == [81], 3)
        engine = client.call("status")["processes"]["engine"]
        server.stop()
        until(lambda: client.call("status")["audio"]["output"] is None, 10)
        server.rate_hz = 48000
        server.start()
        until(lambda: "48000 Hz" in (client.call("status")["audio"]["output"] or ""), 10)
        until(lambda: client.call("status")["processes"]["engine"] not in (None, engine), 20)
        until(lambda: sounding(client) == [81] and client.call("status")["forecast_s"] > 1, 20)
        with Peer(keys=False) as peer:
            audio = peer.play([], 1.0)
        assert loudest_hz(audio) == pytest.approx(880, abs=3)
        assert np.abs(audio).max() > 0.01


def test_a_rate_that_the_server_has_not_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "specdiffd", "run", "--fake", "-o", "audio.device=jack", "-o", "audio.sample_rate_hz=48000"]
    with Server(tmp_path, 44100):
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 3
    assert "audio.sample_rate_hz is 48000, the device has 44100 (auto takes that)" in result.stderr.splitlines()[-1]


def test_it_waits_for_a_device_says_so_once_and_begins(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In one process, which costs next to nothing."""
    with Server(tmp_path) as server:
        server.stop()
        with running_daemon(tmp_path, *SINES, "--wait", "-o", "midi.api=none") as client:
            until(lambda: client.call("status")["audio"]["waiting"], 20)
            io = client.call("status")["processes"]["io"]
            before_s, started_s = Work.of(io).processor_s, time.monotonic()
            time.sleep(5)
            used = (Work.of(io).processor_s - before_s) / (time.monotonic() - started_s)
            server.start()
            until(lambda: client.call("status")["audio"]["output"], 20)
            assert client.call("status")["processes"]["io"] == io
            with Peer(keys=False) as peer:
                client.call("note_on", pitch=81)
                assert loudest_hz(peer.play([], 1.5)[RATE // 2 :]) == pytest.approx(880, abs=3)
    said = [line for line in capfd.readouterr().err.splitlines() if "specdiffd.daemon" in line and "audio" in line.lower()]
    assert len([line for line in said if "ERROR" in line]) == 1, said
    assert used < 0.1
