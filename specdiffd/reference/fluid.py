"""FluidSynth without effects: the reference that the built-in instrument learns from."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import fluidsynth
import numpy as np
import soxr
from numpy.typing import NDArray

from specdiffd.base.errors import DeviceError
from specdiffd.base.events import Event
from specdiffd.base.messages import BEND, CHANNELS, CONTROL, DRUM_CHANNEL, NOTE_OFF, NOTE_ON, PROGRAM, SYSTEM_RESET

SOUNDFONTS = {
    "fluid": Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    "musescore": Path("/usr/share/sounds/sf3/MuseScore_General.sf3"),
}
REFERENCE_GAIN = 0.2  # FluidSynth's default, so that the built-in instrument is as loud as FluidSynth out of the box
RENDER_RATE_HZ = 48000  # a lower rate would lose what the full-band format has, up to 20 kHz
DRUM_BANK = 128

# pyfluidsynth offers only 16-bit output, which is too coarse for quiet notes at this gain.
_write_float = fluidsynth.cfunc(
    "fluid_synth_write_float",
    ctypes.c_int,
    ("synth", ctypes.c_void_p, 1),
    ("len", ctypes.c_int, 1),
    ("lout", ctypes.c_void_p, 1),
    ("loff", ctypes.c_int, 1),
    ("lincr", ctypes.c_int, 1),
    ("rout", ctypes.c_void_p, 1),
    ("roff", ctypes.c_int, 1),
    ("rincr", ctypes.c_int, 1),
)


class FluidRenderer:
    """Renders events dry (no reverb, no chorus) with one soundfont.

    Raises:
        DeviceError: the soundfont is not installed or cannot be read.
    """

    def __init__(self, soundfont: str = "fluid", sample_rate_hz: int = RENDER_RATE_HZ) -> None:
        path = SOUNDFONTS.get(soundfont, Path(soundfont))
        if not path.exists():
            raise DeviceError(f"soundfont {path} not found: apt-get install fluid-soundfont-gm musescore-general-soundfont-small")
        self.sample_rate_hz = sample_rate_hz
        settings = {"synth.reverb.active": 0, "synth.chorus.active": 0}
        self._synth = fluidsynth.Synth(gain=REFERENCE_GAIN, samplerate=float(sample_rate_hz), channels=CHANNELS, **settings)
        self._font = self._synth.sfload(str(path))
        if self._font == -1:
            raise DeviceError(f"FluidSynth cannot read {path}")

    def render(self, events: Sequence[Event], duration_s: float) -> NDArray[np.float32]:
        """Mono audio of ``duration_s``, (samples,): the mean of both channels. FluidSynth applies events at its blocks of 64 samples."""
        self._reset()
        total = round(duration_s * self.sample_rate_hz)
        left, right = np.zeros(total, np.float32), np.zeros(total, np.float32)
        at = 0
        for event in events:
            to = min(total, max(at, round(event.time_s * self.sample_rate_hz)))
            self._write(left, right, at, to)
            at = to
            self._send(event)
        self._write(left, right, at, total)
        return (left + right) * np.float32(0.5)

    def render_at(self, rate_hz: int, events: Sequence[Event], duration_s: float) -> NDArray[np.float32]:
        """As :meth:`render`, resampled to ``rate_hz``."""
        audio = self.render(events, duration_s)
        return np.asarray(soxr.resample(audio, self.sample_rate_hz, rate_hz, quality="HQ"), np.float32)

    def _reset(self) -> None:
        self._synth.all_sounds_off(-1)  # takes effect with the next samples; without it a reset leaves notes ringing
        self._flush()
        self._synth.system_reset()
        for channel in range(CHANNELS):
            self._synth.program_select(channel, self._font, DRUM_BANK if channel == DRUM_CHANNEL else 0, 0)
        self._flush()

    def _flush(self) -> None:
        nowhere = np.zeros(4096, np.float32)
        self._write(nowhere, nowhere.copy(), 0, len(nowhere))

    def _write(self, left: NDArray[np.float32], right: NDArray[np.float32], start: int, stop: int) -> None:
        if stop > start:
            _write_float(self._synth.synth, stop - start, left.ctypes.data, start, 1, right.ctypes.data, start, 1)

    def _send(self, event: Event) -> None:
        synth, channel, kind = self._synth, event.channel, event.kind
        if kind == NOTE_ON and event.data2 > 0:
            synth.noteon(channel, event.data1, event.data2)
        elif kind in (NOTE_ON, NOTE_OFF):
            synth.noteoff(channel, event.data1)
        elif kind == PROGRAM:
            if channel == DRUM_CHANNEL:  # the instrument learns the standard kit alone, so it plays for all programs
                return
            synth.program_select(channel, self._font, 0, event.data1)
        elif kind == CONTROL:
            synth.cc(channel, event.data1, event.data2)
        elif kind == BEND:
            synth.pitch_bend(channel, (event.data1 | event.data2 << 7) - 8192)
        elif event.status == SYSTEM_RESET:
            self._reset()
