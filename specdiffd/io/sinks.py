"""Where the audio stream runs: a sound card or an audio server through PortAudio, or in real time without either."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from specdiffd.base.config import AudioConfig
from specdiffd.base.errors import DeviceError
from specdiffd.base.folders import expanded
from specdiffd.io.devices import find_device, import_sounddevice
from specdiffd.io.output import Player
from specdiffd.io.recording import Recording
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.sizes import STEREO

LONGEST_PAUSE_S = 0.8  # without a callback, besides a block, before a stream counts as stopped: a server that is only slow takes less
USUAL_RATE_HZ = 48000  # that the built-in instrument has


class Sink(Protocol):
    """Somewhere that blocks go to."""

    description: str
    sample_rate_hz: int

    def start(self) -> None:
        """Begin to play."""

    def stop(self) -> None:
        """End; no callback runs after it."""

    def check(self) -> None:
        """Raise DeviceError if the stream has died."""


class PortAudioSink:
    """A PortAudio stream through sounddevice.

    Raises:
        DeviceError: PortAudio is missing, or no device fits.
    """

    def __init__(self, shared: SharedBlock, config: AudioConfig) -> None:
        from specdiffd.io.resting import resting_callback  # and with it a compiler, which no other sink needs

        sd = import_sounddevice()
        device = find_device(sd, config.device)
        info = sd.query_devices(device)
        self.sample_rate_hz = _rate(sd, device, info, config)
        self._player, self._header = Player(shared, config, self.sample_rate_hz), shared.timeline.header
        self._block_s = config.block_size / self.sample_rate_hz
        channels = self._channels = min(config.channels, int(info["max_output_channels"]))
        # Both are held for as long as the stream may call them.
        self._play = sd._ffi.callback("PaStreamCallback", self._callback, error=sd._lib.paAbort)
        self._rest = resting_callback(shared, channels, int(sd._ffi.cast("uintptr_t", self._play)))
        self._buffer = sd._ffi.buffer
        try:
            self._stream = sd._StreamBase(  # meant for libraries whose callback is a function in C
                "output",
                samplerate=self.sample_rate_hz,
                blocksize=config.block_size,
                device=device,
                channels=channels,
                dtype="float32",
                latency="low",
                callback=sd._ffi.cast("PaStreamCallback *", self._rest.address),
                userdata=sd._ffi.cast("void *", shared.words.ctypes.data),
            )
        except Exception as error:
            raise DeviceError(f"audio device {info['name']} at {self.sample_rate_hz} Hz, {channels} channels: {error}") from error
        api = sd.query_hostapis(info["hostapi"])["name"]
        self._header.output_latency_s = self._stream.latency
        self.description = f"{info['name']} ({api}), {self.sample_rate_hz} Hz, blocks of {config.block_size}, {channels} channels"

    def _callback(self, _input: object, output: Any, frames: int, _time: object, status: int, _user: object) -> int:
        """PortAudio's, for blocks that are not at rest."""
        if status:
            self._header.xruns += 1
        bus = self._player.fill(frames)
        out = np.frombuffer(self._buffer(output, frames * self._channels * 4), np.float32).reshape(frames, -1)
        if bus is None:
            out[:] = 0
        elif self._channels == STEREO:
            out[:] = bus
        elif self._channels == 1:
            np.mean(bus, axis=1, out=out[:, 0])
        else:
            out[:, :STEREO] = bus
            out[:, STEREO:] = 0
        return 0

    def start(self) -> None:
        """Begin to play."""
        self._playhead, self._called_s = -1, time.monotonic()
        self._stream.start()

    def stop(self) -> None:
        """Stop and close the stream."""
        self._stream.stop()
        self._stream.close()

    def check(self) -> None:
        """Raise if the stream has ended by itself; a server that is gone does not always say so."""
        playhead, now_s = self._header.playhead, time.monotonic()
        if playhead != self._playhead:
            self._playhead, self._called_s = playhead, now_s
        if not self._stream.active or now_s - self._called_s > LONGEST_PAUSE_S + self._block_s:
            raise DeviceError("the audio stream has stopped")


class PacedSink:
    """Blocks in real time without a device, into a WAV file or nowhere."""

    def __init__(self, shared: SharedBlock, config: AudioConfig, path: Path | None) -> None:
        self.sample_rate_hz = USUAL_RATE_HZ if config.sample_rate_hz == "auto" else config.sample_rate_hz
        self._player, self._block, self._stop = Player(shared, config, self.sample_rate_hz), config.block_size, threading.Event()
        self._file = None if path is None else Recording(path, self.sample_rate_hz)
        self._thread = threading.Thread(target=self._run, name="paced-output", daemon=True)
        self._error: BaseException | None = None
        where = self._file.path if self._file is not None else "no device"
        self.description = f"{where}, paced in real time, {self.sample_rate_hz} Hz, blocks of {self._block}"

    def start(self) -> None:
        """Begin to play."""
        self._thread.start()

    def stop(self) -> None:
        """End and close the file."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self._file is not None:
            self._file.close()

    def check(self) -> None:
        """Raise what ended the thread."""
        if self._error is not None:
            raise DeviceError(f"the output has stopped: {self._error}") from self._error

    def _run(self) -> None:
        block_s = self._block / self.sample_rate_hz
        silence = np.zeros((self._block, STEREO), np.float32)
        due_s = time.monotonic()
        try:
            while not self._stop.wait(max(0.0, due_s - time.monotonic())):
                bus = self._player.fill(self._block)
                if self._file is not None:
                    self._file.write(silence if bus is None else bus)
                due_s += block_s
                if time.monotonic() - due_s > 1.0:  # suspended: do not try to catch up
                    due_s = time.monotonic()
        except BaseException as error:
            self._error = error


def open_sink(shared: SharedBlock, config: AudioConfig) -> Sink:
    """The sink that ``audio.device`` names.

    Raises:
        DeviceError: it cannot be opened.
    """
    name = str(config.device)
    if config.device is None or name == "null":
        return PacedSink(shared, config, None)
    if name.startswith("wav:"):
        return PacedSink(shared, config, expanded(name[4:]))
    return PortAudioSink(shared, config)


def _rate(sd: Any, device: int, info: Any, config: AudioConfig) -> int:
    """The sample rate to play at: the instrument's where the device has that, else the device's own.

    Raises:
        DeviceError: the device does not have the rate that was configured.
    """
    own = round(info["default_samplerate"])
    wanted = USUAL_RATE_HZ if config.sample_rate_hz == "auto" else config.sample_rate_hz
    try:
        sd.check_output_settings(device, channels=1, samplerate=wanted)
    except Exception as error:
        if config.sample_rate_hz == "auto":
            return own
        raise DeviceError(
            f"audio device {info['name']}: {error}; audio.sample_rate_hz is {wanted}, the device has {own} (auto takes that)"
        ) from error
    return wanted
