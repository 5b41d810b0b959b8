"""The renderings that are compared: by the reference, by another soundfont, by the instrument, and by its vocoder alone from a mel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from specdiffd.base.events import Event, Performance
from specdiffd.dsp.mel import log_mel
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.prior.note_features import note_features
from specdiffd.reference.fluid import FluidRenderer
from specdiffd.render import stretches

Audio = NDArray[np.float32]
# Other settings of the same networks.
VARIANTS: dict[str, dict[str, Any]] = {
    "1 step": {"steps": 1},
    "2 steps": {"steps": 2},
    "4 steps": {"steps": 4},
    "8 steps": {"steps": 8},
    "no noise": {"noise": 0.0, "steps": 1},
    "no context": {"use_context": False},
    "prior alone": {"use_decoder": False},
}


class Renderers:
    """The instrument and two soundfonts, all at the instrument's rate. The second one shows how far apart two soundfonts are."""

    def __init__(self, instrument: SpectrogramInstrument, soundfont: str = "fluid") -> None:
        other = "fluid" if soundfont == "musescore" else "musescore"
        self.instrument, self.rate_hz = instrument, instrument.sample_rate_hz
        self._fonts = {"reference": FluidRenderer(soundfont), "other": FluidRenderer(other)}

    def font(self, events: Sequence[Event], duration_s: float, which: str = "reference") -> Audio:
        """Audio (samples,) of the events by the ``reference`` soundfont or the ``other`` one."""
        return self._fonts[which].render_at(self.rate_hz, events, duration_s)

    def play(self, events: Sequence[Event], duration_s: float) -> Audio:
        """Audio (samples,) of the events by the instrument."""
        return timed_rendering(self.instrument, events, duration_s)[0]

    def mel(self, audio: Audio) -> NDArray[np.float32]:
        """Log mel (frames, mel_bins) in the instrument's format, natural log."""
        return log_mel(torch.from_numpy(audio), self.instrument.format).numpy()


def timed_rendering(instrument: SpectrogramInstrument, events: Sequence[Event], duration_s: float) -> tuple[Audio, float]:
    """Audio of exactly ``duration_s`` at the instrument's rate, and the real-time factor."""
    started = time.perf_counter()
    audio = np.zeros(round(duration_s * instrument.sample_rate_hz), np.float32)
    for stretch in stretches(instrument, events):
        if stretch.first_sample >= len(audio):
            break
        _copy(stretch.audio[:, 0], audio, stretch.first_sample)
    return audio, (time.perf_counter() - started) / duration_s


def model_mel(instrument: SpectrogramInstrument, events: Sequence[Event], frames: int) -> NDArray[np.float32]:
    """The log mel (frames, mel) that the instrument writes, before its vocoder; silence where it renders nothing."""
    mel = np.full((frames, instrument.format.mel_bins), instrument.format.log_floor, np.float32)
    for stretch in stretches(instrument, events):
        if stretch.first_frame >= frames:
            break
        _copy(stretch.mel, mel, stretch.first_frame)
    return np.maximum(mel, instrument.format.log_floor)


def _copy(part: Audio, whole: Audio, first: int) -> None:
    """Copy what of ``part`` lies within ``whole`` to its rows from ``first`` on, which may be negative."""
    skipped = max(0, -first)
    inside = part[skipped : max(skipped, len(whole) - first)]
    whole[first + skipped : first + skipped + len(inside)] = inside


@torch.inference_mode()
def copy_synthesis(instrument: SpectrogramInstrument, audio: Audio, score: Performance | None = None) -> Audio:
    """The audio's mel through the vocoder; with a score, guided by it as in playing."""
    fmt, prior = instrument.format, instrument.prior
    mel = log_mel(torch.from_numpy(audio), fmt)[None]
    guides = None
    if score is not None:
        starts_s = fmt.starts_s(0, mel.shape[1])
        guides = instrument.played(note_features(score, starts_s, prior.config.window_s, prior.config.ring_s)).guide[None]
    out = instrument.vocoded(mel, guides)[0]
    return np.pad(out, (0, max(0, len(audio) - len(out))))[: len(audio)]
