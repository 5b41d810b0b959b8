"""The audio stream: a callback that copies from the timeline, and the sinks it can run in."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from specdiffd.audio.reverb import Reverb
from specdiffd.clock import SampleClock
from specdiffd.config import AudioConfig
from specdiffd.errors import DeviceError
from specdiffd.folders import expanded
from specdiffd.io.shared import MAX_BLOCK, STEREO, SharedBlock
from specdiffd.io.timeline import CHANNELS

log = logging.getLogger(__name__)
CEILING = 0.98  # of the limiter
RELEASE_PER_S = 4.0  # how fast the limiter lets go, in gain per second
LONGEST_PAUSE_S = 0.8  # without a callback, before a stream counts as stopped
PEAK_DECAY = 0.999  # a block
RESTING_TICKS = 32  # blocks of silence between two looks at the clock
EARLY_DECAY = 0.9995  # a callback, of how early they have come: half is forgotten in 1,400
HOST_APIS = {
    "alsa": "ALSA",
    "jack": "JACK Audio Connection Kit",
    "pulse": "PulseAudio",
    "coreaudio": "Core Audio",
    "wasapi": "Windows WASAPI",
    "oss": "OSS",
}


class Player:
    """What the callback does: timeline and room times a ramped gain, limited. Nothing is locked or logged; the room alone allocates."""

    def __init__(self, shared: SharedBlock, config: AudioConfig) -> None:
        self._timeline, self._played = shared.timeline, shared.played
        self._limit, self._rate = config.limiter, config.sample_rate_hz
        self._clock = SampleClock(config.sample_rate_hz)
        self._bus, self._silence = np.zeros((2, MAX_BLOCK, STEREO), np.float32)
        self._read = np.zeros((MAX_BLOCK, CHANNELS), np.float32)
        self._scratch = np.zeros((MAX_BLOCK, CHANNELS), np.float32)
        self._ramp = np.zeros((MAX_BLOCK, 1), np.float32)
        self._count = np.arange(1, MAX_BLOCK + 1, dtype=np.float32)[:, None]
        self._gain, self._limiter, self._missing = 0.0, 1.0, False
        self._reverb = Reverb(config.sample_rate_hz, config.block_size, config.reverb) if config.reverb else None
        shared.timeline.header.clock_start = shared.timeline.playhead
        shared.timeline.header.resting_blocks = 0  # a player before this one may have left some

    def fill(self, samples: int) -> NDArray[np.float32] | None:
        """The next block that is put out, (samples, STEREO), valid until the next call; None for silence on purpose."""
        header = self._timeline.header
        playhead = header.playhead
        if header.silent and playhead >= header.valid_until and (self._reverb is None or self._reverb.quiet):
            self._rest(samples, playhead)
            return None
        header.resting_blocks = 0
        self._tick(playhead)
        bus = self._bus[:samples]
        read = self._read[:samples]
        missing = self._timeline.advance(read) > 0
        if missing and not self._missing:
            header.missing_runs += 1
        self._missing = missing
        bus[:] = read[:, :1]
        if self._reverb is not None:
            bus += self._reverb.process(read[:, 1])
        target = self._target
        self._apply(bus, self._gain, target)
        self._gain = target
        if self._limit:
            self._limit_block(bus, target)
        np.clip(bus, -1.0, 1.0, out=bus)
        self._played.add(bus)
        return bus

    def _tick(self, playhead: int) -> None:
        """The block at ``playhead`` is being read now."""
        header, now_ns = self._timeline.header, time.monotonic_ns()
        header.clock_early_s = max(self._clock.early_s(playhead, now_ns), header.clock_early_s * EARLY_DECAY)
        self._timeline.set_clock(self._clock.update(playhead, now_ns))

    def _rest(self, samples: int, playhead: int) -> None:
        """A block of silence on purpose, for next to nothing."""
        header = self._timeline.header
        if header.resting_blocks > 0:
            header.resting_blocks -= 1
        else:
            self._limiter, self._missing, self._gain = 1.0, False, self._target
            self._tick(playhead)
            header.peak *= PEAK_DECAY**RESTING_TICKS
            header.resting_blocks = RESTING_TICKS - 1
        header.playhead = playhead + samples
        self._played.add(self._silence[:samples])

    @property
    def _target(self) -> float:
        """The gain that is ramped to."""
        header = self._timeline.header
        return header.gain if header.running else 0.0

    def _apply(self, bus: NDArray[np.float32], start: float, end: float) -> None:
        if start == end == 1.0:
            return
        ramp = self._ramp[: len(bus)]
        np.multiply(self._count[: len(bus)], (end - start) / len(bus), out=ramp)
        np.add(ramp, start, out=ramp)
        np.multiply(bus, ramp, out=bus)

    def _limit_block(self, bus: NDArray[np.float32], gain: float) -> None:
        """Look one block ahead in the timeline, so that the gain is already down when a peak comes."""
        header, ahead = self._timeline.header, self._scratch[: len(bus)]
        now = self._peak(bus)
        there = max(0, min(len(bus), header.valid_until - header.playhead))
        self._timeline.peek(ahead, there)
        following = self._peak(ahead[:there]) * gain if there else 0.0
        worst = max(now, following, 1e-9)
        allowed = min(1.0, CEILING / worst)
        target = min(allowed, self._limiter + RELEASE_PER_S * len(bus) / self._rate)
        if target < 1.0 or self._limiter < 1.0:
            header.limited_blocks += 1
            self._apply(bus, self._limiter, target)
        self._limiter = target
        header.peak = max(now * target, header.peak * PEAK_DECAY)

    def _peak(self, audio: NDArray[np.float32]) -> float:
        if not len(audio):
            return 0.0
        return float(max(audio.max(), -audio.min()))


class Sink(Protocol):
    """Somewhere that blocks go to."""

    description: str

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

    def __init__(self, player: Player, shared: SharedBlock, config: AudioConfig) -> None:
        from specdiffd.io.resting import resting_callback  # and with it a compiler, which no other sink needs

        sd = import_sounddevice()
        device = find_device(sd, config.device)
        self._player, self._header = player, shared.timeline.header
        info = sd.query_devices(device)
        channels = self._channels = min(config.channels, int(info["max_output_channels"]))
        # Both are held for as long as the stream may call them.
        self._play = sd._ffi.callback("PaStreamCallback", self._callback, error=sd._lib.paAbort)
        self._rest = resting_callback(shared, channels, int(sd._ffi.cast("uintptr_t", self._play)))
        self._buffer = sd._ffi.buffer
        try:
            self._stream = sd._StreamBase(  # meant for libraries whose callback is a function in C
                "output",
                samplerate=config.sample_rate_hz,
                blocksize=config.block_size,
                device=device,
                channels=channels,
                dtype="float32",
                latency="low",
                callback=sd._ffi.cast("PaStreamCallback *", self._rest.address),
                userdata=sd._ffi.cast("void *", shared.words.ctypes.data),
            )
        except Exception as error:
            raise DeviceError(f"audio device {info['name']}: {error}") from error
        api = sd.query_hostapis(info["hostapi"])["name"]
        self._header.output_latency_s = self._stream.latency
        self.description = f"{info['name']} ({api}), {config.sample_rate_hz} Hz, blocks of {config.block_size}, {channels} channels"

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
        if not self._stream.active or now_s - self._called_s > LONGEST_PAUSE_S:
            raise DeviceError("the audio stream has stopped")


class PacedSink:
    """Blocks in real time without a device, into a WAV file or nowhere."""

    def __init__(self, player: Player, config: AudioConfig, path: Path | None) -> None:
        self._player, self._config, self._stop = player, config, threading.Event()
        self._file: Any = None
        if path is not None:
            import soundfile

            try:
                self._file = soundfile.SoundFile(path, "w", config.sample_rate_hz, STEREO, "PCM_16", format="WAV")
            except (OSError, RuntimeError) as error:
                raise DeviceError(f"cannot write {path}: {error}") from error
        self._thread = threading.Thread(target=self._run, name="paced-output", daemon=True)
        self._error: BaseException | None = None
        self.description = f"{path or 'no device'}, paced in real time, {config.sample_rate_hz} Hz, blocks of {config.block_size}"

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
            raise DeviceError(f"output stopped: {self._error}")

    def _run(self) -> None:
        block_s = self._config.block_size / self._config.sample_rate_hz
        silence = np.zeros((self._config.block_size, STEREO), np.float32)
        due_s = time.monotonic()
        try:
            while not self._stop.wait(max(0.0, due_s - time.monotonic())):
                bus = self._player.fill(self._config.block_size)
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
    player = Player(shared, config)
    name = str(config.device)
    if config.device is None or name == "null":
        return PacedSink(player, config, None)
    if name.startswith("wav:"):
        return PacedSink(player, config, expanded(name[4:]))
    return PortAudioSink(player, shared, config)


def import_sounddevice() -> Any:
    """The sounddevice module; importing it starts PortAudio.

    Raises:
        DeviceError: PortAudio is not installed.
    """
    try:
        import sounddevice
    except OSError as error:
        raise DeviceError(f"PortAudio is not installed ({error}): apt-get install libportaudio2") from error
    return sounddevice


def find_device(sd: Any, wanted: str | int | None) -> int:
    """Index of an output device by index, part of its name, host API name, or ``default``.

    Raises:
        DeviceError: none fits; the text lists what is there.
    """
    devices = [(k, d) for k, d in enumerate(sd.query_devices()) if d["max_output_channels"] > 0]
    apis = sd.query_hostapis()
    there = ", ".join(f"{k}: {d['name']} ({apis[d['hostapi']]['name']})" for k, d in devices) or "none"
    if isinstance(wanted, int):
        if any(k == wanted for k, _ in devices):
            return wanted
        raise DeviceError(f"audio.device {wanted} is no output device; there: {there}")
    if wanted == "default":
        for index in (sd.default.device[1], *(api["default_output_device"] for api in apis)):
            if index is not None and index >= 0:
                return int(index)
    wanted = str(wanted)
    for api in apis:
        if wanted.lower() in HOST_APIS and api["name"] == HOST_APIS[wanted.lower()] and api["default_output_device"] >= 0:
            return int(api["default_output_device"])
    for k, d in devices:
        if wanted.lower() in d["name"].lower():
            return k
    raise DeviceError(f"no audio device {wanted!r}; there: {there} (wav:PATH writes a file, null plays to nobody)")


def list_devices() -> list[dict[str, Any]]:
    """Output devices: index, name, host API, channels, default rate."""
    sd = import_sounddevice()
    apis = sd.query_hostapis()
    return [
        {
            "index": k,
            "name": d["name"],
            "host_api": apis[d["hostapi"]]["name"],
            "channels": d["max_output_channels"],
            "sample_rate_hz": d["default_samplerate"],
        }
        for k, d in enumerate(sd.query_devices())
        if d["max_output_channels"] > 0
    ]
