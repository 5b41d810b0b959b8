"""The whole daemon, with sines, on an output that only keeps time: processes, control, signals, supervision."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import zmq
from running import children, daemon, loudness, wait_until

from specdiffd.base.config import Config
from specdiffd.base.errors import ControlError
from specdiffd.daemon.supervisor import Daemon
from specdiffd.instruments.sine import SineInstrument
from specdiffd.player.rehearsal import measure, rehearse
from specdiffd.player.settings import settings_for
from specdiffd.player.startup import live_threads


def test_a_note_over_zmq_is_heard(tmp_path: Path) -> None:
    recording = tmp_path / "out.wav"
    with daemon(tmp_path, "-o", f"audio.device=wav:{recording}") as (process, client):
        client.call("program", program=40, channel=2)
        client.call("note_on", pitch=69, velocity=127)
        status = wait_until(lambda: (s := client.call("status")) and s["sounding_notes"] and s)
        assert status["sounding_notes"] == [{"channel": 1, "pitch": 69, "velocity": 127, "program": 0}]
        assert status["programs"][1] == 40
        assert status["instrument"] == "sine"
        assert status["render_delay_ms"] == 60
        assert status["counters"]["events"] >= 2
        time.sleep(0.5)
        client.call("note_off", pitch=69)
        wait_until(lambda: client.call("status")["asleep"])
        client.call("shutdown")
        assert process.wait(10) == 0
    audio, rate = soundfile.read(recording)
    assert np.abs(audio).max() == pytest.approx(0.1, abs=0.01)
    spectrum = np.abs(np.fft.rfft(audio[:, 0]))
    assert np.argmax(spectrum) * rate / len(audio) == pytest.approx(440, abs=2)
    assert np.abs(np.diff(audio[:, 0])).max() < 0.01


def test_malformed_messages_change_nothing(tmp_path: Path) -> None:
    with daemon(tmp_path) as (_, client):
        before = client.call("status")["counters"]["events"]
        for message in (
            b"{",
            b'{"v":1,"id":"\xff\xfe","cmd":"ping"}',
            b'{"v":1,"id":1,"cmd":"get","args":{"key":"\xff"}}',
            b'{"v":1,"id":1,"cmd":"note_on","args":{"pitch":999}}',
            b'{"v":1,"id":1,"cmd":"set","args":{"key":"audio.gain_db","value":"loud"}}',
        ):
            with pytest.raises(ControlError):
                client.reply_to(message)
        status = client.call("status")
        assert status["counters"]["events"] == before
        assert status["gain_db"] == 0
        assert status["counters"]["control_errors"] == 0


def test_settings(tmp_path: Path) -> None:
    with daemon(tmp_path, "-o", "audio.gain_db=-3") as (_, client):
        assert client.call("gain") == {"gain_db": -3}
        assert client.call("gain", db=-6) == {"gain_db": -6}
        assert client.call("get", key="audio.gain_db")["value"] == -6
        assert client.call("set", key="audio.gain_db", value=-9)["value"] == -9
        assert client.call("get", key="audio.block_size")["value"] == 256
        with pytest.raises(ControlError, match="cannot change while the daemon runs"):
            client.call("set", key="audio.block_size", value=128)
        with pytest.raises(ControlError, match=r"Expected `float` <= 24"):
            client.call("set", key="audio.gain_db", value=99)
        with pytest.raises(ControlError, match=r"unknown key 'audio\.loudness'"):
            client.call("get", key="audio.loudness")


def test_parts_play_by_graphs(tmp_path: Path) -> None:
    options = ("engine.parts=2", "engine.standby=false", "engine.render_delay_ms=200")
    with daemon(tmp_path, *(word for option in options for word in ("-o", option)), fake=False) as (_, client):
        for channel in (1, 2):
            client.call("note_on", pitch=60, channel=channel)
        counters = wait_until(lambda: (s := client.call("status")) and s["counters"]["slices"] > 10 and s["counters"])
    assert counters["revisions"] > 0
    assert counters["without_graph"] == 0


def test_panic_ends_every_note(tmp_path: Path) -> None:
    with daemon(tmp_path) as (_, client):
        for channel in (1, 5, 16):
            client.call("note_on", pitch=60, channel=channel)
        wait_until(lambda: len(client.call("status")["sounding_notes"]) == 3)
        client.call("panic")
        wait_until(lambda: not client.call("status")["sounding_notes"])


def test_telemetry(tmp_path: Path) -> None:
    with daemon(tmp_path) as (_, client), zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe("")
        socket.connect(f"ipc://{tmp_path}/specdiffd/telemetry.sock")
        seen: dict[str, Any] = {}

        def fetch() -> bool:
            client.call("note_on", pitch=60)
            while socket.poll(10):
                topic, value = socket.recv_multipart()
                seen[topic.decode()] = json.loads(value)
            return {"status", "midi", "latency"} <= set(seen)

        wait_until(fetch)
        assert seen["midi"]["status"] == 0x90
        assert seen["latency"]["sine"] > 0
        assert seen["status"]["instrument"] == "sine"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stop_it_cleanly(tmp_path: Path, number: int) -> None:
    with daemon(tmp_path) as (process, client):
        client.call("note_on", pitch=60)
        pids = children(client)
        assert set(pids) >= {"io", "engine"}
        process.send_signal(number)
        assert process.wait(10) == 0
    assert not list((tmp_path / "specdiffd").iterdir())
    for pid in pids.values():
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("standby", [True, False])
def test_a_killed_engine_is_replaced_and_goes_on_from_its_score(tmp_path: Path, standby: bool) -> None:
    recording = tmp_path / "out.wav"
    delay = "auto" if standby else "60"
    options = (f"audio.device=wav:{recording}", f"engine.standby={standby}", f"engine.render_delay_ms={delay}")
    with daemon(tmp_path, *(w for x in options for w in ("-o", x))) as (_, client):
        client.call("program", program=40, channel=3)
        if standby:
            wait_until(lambda: "standby" in children(client))
        client.call("note_on", pitch=69, velocity=127)
        client.call("note_on", pitch=76, velocity=100, channel=2)
        before = wait_until(lambda: (s := client.call("status")) and len(s["sounding_notes"]) == 2 and s)
        os.kill(children(client)["engine"], signal.SIGKILL)
        client.call("note_off", pitch=76, channel=2)  # while nobody reads
        wait_until(lambda: client.call("status")["counters"]["restarts"]["engine"] == 1)
        after = wait_until(lambda: (s := client.call("status")) and len(s["sounding_notes"]) == 1 and s)
        assert after["sounding_notes"] == [n for n in before["sounding_notes"] if n["pitch"] == 69]
        assert after["programs"][2] == 40
        assert after["render_delay_ms"] == before["render_delay_ms"]
        if standby:  # the forecast bridges it
            assert after["counters"]["missing_samples"] == 0
        wait_until(lambda: client.call("status")["forecast_s"] > 1)
        client.call("note_off", pitch=69)
        wait_until(lambda: client.call("status")["asleep"])
        client.call("shutdown")
    levels = loudness(recording)
    sounding = np.flatnonzero(levels > 0.03)
    silent = (levels[sounding[0] : sounding[-1]] < 0.03).sum() * 0.02
    assert silent < (0.02 if standby else 2.5)


def test_killed_io_is_replaced_and_notes_are_still_held(tmp_path: Path) -> None:
    with daemon(tmp_path) as (_, client):
        client.call("note_on", pitch=60)
        client.call("gain", db=-6)
        wait_until(lambda: client.call("status")["sounding_notes"])
        pid = children(client)["io"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: children(client).get("io") not in (None, pid))
        wait_until(lambda: client.call("status")["audio"]["output"])
        status = client.call("status")
        assert [n["pitch"] for n in status["sounding_notes"]] == [60]
        assert status["gain_db"] == -6
        assert status["counters"]["restarts"] == {"io": 1, "engine": 0, "standby": 0}
        client.call("note_off", pitch=60)
        wait_until(lambda: client.call("status")["asleep"])


@pytest.mark.parametrize("name", ["engine", "io"])
def test_a_child_that_hangs_is_replaced(tmp_path: Path, name: str) -> None:
    with daemon(tmp_path) as (_, client):
        client.call("note_on", pitch=60)
        wait_until(lambda: client.call("status")["sounding_notes"])
        os.kill(children(client)[name], signal.SIGSTOP)
        wait_until(lambda: client.call("status")["counters"]["restarts"][name] == 1)
        wait_until(lambda: client.call("status")["audio"]["output"])
        client.call("note_off", pitch=60)
        wait_until(lambda: client.call("status")["asleep"])


def test_counters_go_on_through_a_takeover(tmp_path: Path) -> None:
    with daemon(tmp_path) as (_, client):
        for pitch in range(60, 70):
            client.call("note_on", pitch=pitch)
        before = wait_until(lambda: (s := client.call("status")["counters"]) and s["events"] == 10 and s["revisions"] and s)
        wait_until(lambda: "standby" in children(client))
        os.kill(children(client)["engine"], signal.SIGKILL)
        wait_until(lambda: client.call("status")["counters"]["restarts"]["engine"] == 1)
        wait_until(lambda: len(client.call("status")["sounding_notes"]) == 10)
        client.call("note_on", pitch=80)
        after = wait_until(lambda: (s := client.call("status")) and len(s["sounding_notes"]) == 11 and s["counters"])
        assert after["events"] > before["events"]
        assert after["revisions"] > before["revisions"]


def test_every_death_is_counted(tmp_path: Path) -> None:
    with daemon(tmp_path, "-o", "engine.standby=false") as (_, client):
        for count in range(1, 5):
            pid = wait_until(lambda: children(client).get("io"))
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda count=count: client.call("status")["counters"]["restarts"]["io"] == count)
            wait_until(lambda: client.call("status")["audio"]["output"])


def test_a_standby_that_hangs_is_replaced_before_and_after_it_takes_over(tmp_path: Path) -> None:
    with daemon(tmp_path) as (_, client):
        standby = wait_until(lambda: children(client).get("standby"))
        os.kill(standby, signal.SIGSTOP)
        wait_until(lambda: client.call("status")["counters"]["restarts"]["standby"] == 1)
        standby = wait_until(lambda: (p := children(client).get("standby")) != standby and p)
        client.call("note_on", pitch=60)
        wait_until(lambda: client.call("status")["sounding_notes"])
        os.kill(standby, signal.SIGSTOP)
        os.kill(children(client)["engine"], signal.SIGKILL)
        wait_until(lambda: client.call("status")["counters"]["restarts"]["engine"] >= 2)
        wait_until(lambda: client.call("status")["forecast_s"] > 1)
        assert [n["pitch"] for n in client.call("status")["sounding_notes"]] == [60]


def test_what_follows_a_standby_that_took_over_goes_behind_nobody() -> None:
    behind_others = []
    supervisor = Daemon(Config(), fake=True)
    supervisor._create_engine = lambda pipe, background=False: behind_others.append(background)  # type: ignore
    supervisor._standby.loaded = True
    supervisor._mend_engine()  # there is no engine: the standby takes over
    supervisor._engine.create(None)  # type: ignore[arg-type]
    assert behind_others == [False]


def test_a_supervisor_that_stands_still_silences_nothing(tmp_path: Path) -> None:
    with daemon(tmp_path) as (process, client):
        client.call("note_on", pitch=60)
        pids = wait_until(lambda: client.call("status")["forecast_s"] > 1 and children(client))
        process.send_signal(signal.SIGSTOP)
        time.sleep(7)
        process.send_signal(signal.SIGCONT)
        status = client.call("status")
        assert status["counters"]["missing_samples"] == 0
        assert {name: children(client)[name] for name in ("io", "engine")} == {name: pids[name] for name in ("io", "engine")}


def test_panic_is_answered_and_heard_while_the_engine_hangs(tmp_path: Path) -> None:
    recording = tmp_path / "out.wav"
    with daemon(tmp_path, "-o", f"audio.device=wav:{recording}") as (_, client):
        client.call("note_on", pitch=69, velocity=127)
        wait_until(lambda: client.call("status")["forecast_s"] > 1.5)
        engine = children(client)["engine"]
        os.kill(engine, signal.SIGSTOP)
        started_s = time.monotonic()
        client.call("panic")
        assert time.monotonic() - started_s < 0.05
        time.sleep(1)  # of forecast that would be heard
        os.kill(engine, signal.SIGCONT)
        wait_until(lambda: not client.call("status")["sounding_notes"])
        client.call("note_on", pitch=72)
        wait_until(lambda: client.call("status")["sounding_notes"])
        client.call("note_off", pitch=72)
        wait_until(lambda: client.call("status")["asleep"])
    levels = loudness(recording)
    sounding = levels > 0.03
    edges = np.flatnonzero(np.diff(sounding.astype(int)))
    assert len(edges) == 4  # two sounds
    assert (edges[2] - edges[1]) * 0.02 > 0.8


def test_a_machine_without_a_device_is_waited_for_in_one_process(tmp_path: Path) -> None:
    missing = ("-o", "audio.device=no such device")
    with daemon(tmp_path, *missing, "--wait") as (_, client):
        status = client.call("status")
        assert "no such device" in status["audio"]["waiting"]
        io = status["processes"]["io"]
        client.call("note_on", pitch=60)
        client.call("panic")
        time.sleep(3)
        status = client.call("status")
        assert status["processes"]["io"] == io
        assert sum(status["counters"]["restarts"].values()) == 0


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with daemon(tmp_path) as (process, client):
        pids = children(client)
        process.kill()
        process.wait(10)
        for pid in pids.values():
            wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists())


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        said: list[str] = []

        def hear_until(wanted: str) -> None:
            while not any(wanted in line for line in said):
                said.append(manager.recv(4096).decode())

        with daemon(tmp_path, environment=environment) as (process, client):
            hear_until("READY=1")
            assert "STATUS=sine, render delay" in said[0]
            hear_until("WATCHDOG=1")
            client.call("shutdown")
            process.wait(10)
            hear_until("STOPPING=1")


def test_two_daemons_do_not_share_a_socket(tmp_path: Path) -> None:
    with daemon(tmp_path):
        second = subprocess.run(
            [sys.executable, "-m", "specdiffd", "run", "--fake", "-o", "audio.device=null", "-o", "midi.api=none"],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert second.returncode == 3
        assert "another specdiffd is running here" in second.stderr


def test_sequencer_mode_publishes_its_delay(tmp_path: Path) -> None:
    with daemon(tmp_path, "-o", "engine.mode=sequencer", "-o", "engine.render_delay_ms=auto") as (_, client):
        status = client.call("status")
        assert (status["mode"], status["render_delay_ms"]) == ("sequencer", 200)
        client.call("note_on", pitch=60)
        wait_until(lambda: client.call("status")["sounding_notes"])
        client.call("note_off", pitch=60)
        counters = wait_until(lambda: (s := client.call("status")) and s["asleep"] and s["counters"])
        assert counters["late_splices"] == 0


class SlowSine(SineInstrument):
    """Takes a known time for every stage."""

    def stages(self, *arguments: Any, **options: Any) -> Any:
        stages = super().stages(*arguments, **options)
        while True:
            time.sleep(0.01)
            try:
                next(stages)
            except StopIteration as stop:
                return stop.value
            yield


def test_the_render_delay_is_measured_by_playing() -> None:
    """Two stages of 10 ms: the one in hand, a revision that waits for another; and it holds what it promises."""
    settings = settings_for(48000, 256, 10.0, 2.0, 1)
    assert 0.008 < measure(SineInstrument(), settings, 2.0).delay_s < 0.04
    slow = measure(SlowSine(), settings, 8.0)  # as long as an engine does: in less, two revisions are too large a share
    assert 0.04 < slow.delay_s < 0.12
    assert slow.late_share <= 0.03
    slack, _ = rehearse(SlowSine(), settings, slow.delay_s, 4.0, seed=5)
    assert np.mean(slack < 0) < 0.15
    assert np.mean(rehearse(SlowSine(), settings, 0.02, 2.0, seed=5)[0] < 0) > 0.5


class StallingSine(SineInstrument):
    """Its machine stands still for a fifth of a second, once it has gone on for two."""

    def __init__(self) -> None:
        super().__init__()
        self.stalls_at_s = time.monotonic() + 2

    def stages(self, *arguments: Any, **options: Any) -> Any:
        if time.monotonic() > self.stalls_at_s:
            self.stalls_at_s = math.inf
            time.sleep(0.2)
        return (yield from super().stages(*arguments, **options))


def test_one_stall_of_the_machine_does_not_lengthen_the_render_delay() -> None:
    settings = settings_for(48000, 256, 10.0, 2.0, 1)
    instrument = StallingSine()
    assert measure(instrument, settings, 8.0).delay_s < 0.06
    assert math.isinf(instrument.stalls_at_s)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (3, 3), (64, 4)])
def test_networks_take_no_more_threads_than_they_can_use(cores: int, threads: int) -> None:
    assert live_threads(cores) == threads
