"""A JACK server that can be stopped, the daemon on it, and a peer that plays and listens."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jack
import numpy as np
from numpy.typing import NDArray

from specdiffd.control.client import ControlClient

RATE = 48000
Audio = NDArray[np.float32]


class Server:
    """A JACK server of its own; the environment leads to it while the context is open."""

    def __init__(self, folder: Path, rate_hz: int = RATE) -> None:
        self.rate_hz = rate_hz
        self.folder, self._name = folder, f"specdiffd-test-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "JACK_DEFAULT_SERVER": self._name,
            "JACK_NO_AUDIO_RESERVATION": "1",
            "JACK_NO_START_SERVER": "1",
            "XDG_RUNTIME_DIR": str(folder),
        }

    def __enter__(self) -> "Server":
        self._before = {k: os.environ.get(k) for k in self._environment}
        os.environ.update(self._environment)
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        for key, value in self._before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value

    def start(self) -> None:
        """Up, and ready for clients."""
        command = ["jackd", "-n", self._name, "-r", "-d", "dummy", "-r", str(self.rate_hz), "-p", "256"]
        with (self.folder / "jackd.log").open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        subprocess.run(["jack_wait", "-s", self._name, "-w", "-t", "20"], check=True, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """Gone, as when it is killed by its user."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


@contextmanager
def running_daemon(folder: Path, *options: str) -> Iterator[ControlClient]:
    """The daemon on the server that the environment leads to."""
    command = [sys.executable, "-m", "specdiffd", "run", "-o", "audio.device=jack", "-o", "midi.api=jack", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    socket = folder / "specdiffd" / "control.sock"
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


@contextmanager
def running_fluidsynth() -> Iterator[None]:
    """FluidSynth on the server that the environment leads to."""
    server = os.environ["JACK_DEFAULT_SERVER"]
    options = ["-o", f"audio.jack.server={server}", "-o", f"midi.jack.server={server}"]
    command = ["fluidsynth", "-a", "jack", "-m", "jack", "-s", "-i", *options, "/usr/share/sounds/sf2/FluidR3_GM.sf2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        subprocess.run(["jack_wait", "-s", server, "-w", "-t", "20"], check=True, stdout=subprocess.DEVNULL)
        looking = jack.Client("looking")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not any("fluidsynth" in p.name for p in looking.get_ports(is_audio=True)):
            time.sleep(0.1)
        looking.close()
        yield
    finally:
        process.terminate()
        process.wait(10)


class Peer:
    """A keyboard and an ear: events at exact frames, everything heard with its frame."""

    def __init__(self, keys: bool = True, midi: str = "specdiffd", audio: str = "PortAudio", name: str = "peer") -> None:
        self._plays, self._midi, self._audio = keys, midi, audio
        self.client = jack.Client(name)
        self._out = self.client.midi_outports.register("keys")
        self._in = self.client.inports.register("ear")
        self._waiting: list[tuple[int, bytes]] = []
        self._heard: list[tuple[int, Audio]] = []
        self.left_out: list[float] = []  # seconds of the last recording at which the server left out or repeated a block
        self._lock = threading.Lock()
        self.client.set_process_callback(self._process)

    def __enter__(self) -> "Peer":
        self.client.activate()
        self.connect()
        return self

    def connect(self) -> None:
        """To the daemon's ports as they are now: it may have been started again."""
        midi = [p for p in self.client.get_ports(is_midi=True, is_input=True) if self._midi in p.name]
        if midi and self._plays and not self._out.is_connected_to(midi[0]):
            self.client.connect(self._out, midi[0])
        audio = [p for p in self.client.get_ports(is_audio=True, is_output=True) if self._audio in p.name]
        if audio and not self._in.is_connected_to(audio[0]):
            self.client.connect(audio[0], self._in)

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
        audio = np.zeros(round(seconds * RATE), np.float32)
        while self.client.frame_time < start + len(audio) + RATE // 10:  # a server that loses a client stands still meanwhile
            time.sleep(0.01)
        with self._lock:
            for at, block in self._heard:
                first = max(0, start - at)
                there = block[first : max(first, len(audio) - (at - start))]
                audio[max(0, at - start) : max(0, at - start) + len(there)] = there
            pairs = zip(self._heard, self._heard[1:], strict=False)
            self.left_out = [(at - start) / RATE for (before, block), (at, _) in pairs if at != before + len(block)]
        return audio


def level(audio: Audio) -> float:
    return float(np.sqrt(np.mean(audio**2)))


def loudest_hz(audio: Audio) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum) * RATE / len(audio))
