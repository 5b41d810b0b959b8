"""The real thing: a JACK server, the daemon on it with the built-in instrument, and a peer that plays and listens."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jack
import numpy as np
import pytest
from numpy.typing import NDArray

from specdiffd.control.client import ControlClient

RATE = 48000
Audio = NDArray[np.float32]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A JACK server of its own; gives the environment that leads to it."""
    name = f"specdiffd-test-{os.getpid()}"
    folder = tmp_path_factory.mktemp("runtime")
    environment = {
        "JACK_DEFAULT_SERVER": name,
        "JACK_NO_AUDIO_RESERVATION": "1",
        "JACK_NO_START_SERVER": "1",
        "XDG_RUNTIME_DIR": str(folder),
    }
    command = ["jackd", "-n", name, "-r", "-d", "dummy", "-r", str(RATE), "-p", "256"]
    with (folder / "jackd.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
    before = {k: os.environ.get(k) for k in environment}
    os.environ.update(environment)
    try:
        subprocess.run(["jack_wait", "-s", name, "-w", "-t", "20"], check=True, stdout=subprocess.DEVNULL)
        yield environment
    finally:
        process.terminate()
        process.wait(10)
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


@pytest.fixture(scope="module")
def daemon(server: dict[str, str]) -> Iterator[ControlClient]:
    """The daemon on that server."""
    command = [sys.executable, "-m", "specdiffd.cli", "run", "-o", "audio.device=jack", "-o", "midi.api=jack"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    socket = Path(server["XDG_RUNTIME_DIR"]) / "specdiffd" / "control.sock"
    try:
        deadline = time.monotonic() + 60
        while not socket.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        with ControlClient(f"ipc://{socket}", timeout_s=60) as client:
            client.call("ping")
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        sys.stderr.write(said)
    assert process.returncode == 0


class Peer:
    """A keyboard and an ear: events at exact frames, everything heard with its frame."""

    def __init__(self) -> None:
        self.client = jack.Client("peer")
        self._out = self.client.midi_outports.register("keys")
        self._in = self.client.inports.register("ear")
        self._waiting: list[tuple[int, bytes]] = []
        self._heard: list[tuple[int, Audio]] = []
        self._lock = threading.Lock()
        self.client.set_process_callback(self._process)

    def __enter__(self) -> "Peer":
        self.client.activate()
        (midi,) = [p for p in self.client.get_ports(is_midi=True, is_input=True) if "specdiffd" in p.name]
        audio = [p for p in self.client.get_ports(is_audio=True, is_output=True) if "peer" not in p.name and "system" not in p.name]
        self.client.connect(self._out, midi)
        self.client.connect(audio[0], self._in)
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.deactivate()
        self.client.close()

    def _process(self, frames: int) -> None:
        now = self.client.last_frame_time
        self._out.clear_buffer()
        with self._lock:
            while self._waiting and self._waiting[0][0] < now + frames:
                at, message = self._waiting.pop(0)
                self._out.write_midi_event(max(0, at - now), message)
            self._heard.append((now, self._in.get_array().copy()))

    def play(self, events: list[tuple[float, bytes]], seconds: float) -> Audio:
        """What is heard from the moment that the events' times count from."""
        start = self.client.frame_time + RATE // 10
        with self._lock:
            self._heard.clear()
            self._waiting = [(start + round(at * RATE), message) for at, message in events]
        time.sleep(seconds + 0.2)
        audio = np.zeros(round(seconds * RATE), np.float32)
        with self._lock:
            for at, block in self._heard:
                first = max(0, start - at)
                there = block[first : max(first, len(audio) - (at - start))]
                audio[max(0, at - start) : max(0, at - start) + len(there)] = there
        return audio


def level(audio: Audio) -> float:
    return float(np.sqrt(np.mean(audio**2)))


def loudest_hz(audio: Audio) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum) * RATE / len(audio))


def test_keys_are_heard_in_time_and_in_tune(daemon: ControlClient) -> None:
    pitches = [57, 60, 64, 69, 72, 76]
    events = [(0.0, bytes([0xC0, 0]))]
    for k, pitch in enumerate(pitches):
        events += [(0.5 + 0.8 * k, bytes([0x90, pitch, 110])), (0.9 + 0.8 * k, bytes([0x80, pitch, 0]))]
    with Peer() as peer:
        audio = peer.play(events, 0.5 + 0.8 * len(pitches))
    latencies = []
    for k, pitch in enumerate(pitches):
        struck = round((0.5 + 0.8 * k) * RATE)
        before, note = audio[struck - RATE // 20 : struck], audio[struck : struck + round(0.6 * RATE)]
        blocks = np.abs(note[: len(note) // 64 * 64]).reshape(-1, 64).max(1)
        threshold = max(3 * np.abs(before).max(), 0.08 * blocks.max())
        latencies.append(float(np.argmax(blocks > threshold)) * 64 / RATE)
        assert level(note) > 10 * level(before), f"pitch {pitch} was not heard"
        hz = 440 * 2 ** ((pitch - 69) / 12)
        harmonic = loudest_hz(note[RATE // 10 : RATE // 2]) / hz
        assert abs(harmonic - round(harmonic)) < 0.04, f"pitch {pitch} sounds at {harmonic * hz:.1f} Hz"
    delay_s = daemon.call("status")["render_delay_ms"] / 1e3
    assert np.median(latencies) < delay_s + 0.04


def test_a_note_over_zmq_is_heard_through_jack(daemon: ControlClient) -> None:
    with Peer() as peer:
        silence = peer.play([], 0.5)
        daemon.call("program", program=73)
        daemon.call("note_on", pitch=81, velocity=110)
        note = peer.play([], 0.8)
        daemon.call("note_off", pitch=81)
        time.sleep(1.5)
        after = peer.play([], 0.3)
    assert level(note) > 20 * level(silence)
    assert loudest_hz(note[RATE // 4 :]) / 880 == pytest.approx(round(loudest_hz(note[RATE // 4 :]) / 880), abs=0.03)
    assert level(after) < 0.05 * level(note)


def test_pedal_holds_and_panic_silences(daemon: ControlClient) -> None:
    with Peer() as peer:
        strings = [(0.0, bytes([0xC0, 48])), (0.05, bytes([0xB0, 64, 127])), (0.1, bytes([0x90, 60, 100])), (0.3, bytes([0x80, 60, 0]))]
        held = peer.play(strings, 2.0)
        daemon.call("panic")
        time.sleep(0.3)
        after = peer.play([], 0.3)
    assert level(held[-RATE // 2 :]) > 0.2 * level(held)
    assert level(after) < 1e-4
    assert daemon.call("status")["sounding_notes"] == []
