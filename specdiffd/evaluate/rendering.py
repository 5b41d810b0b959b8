"""Renderings that are compared: the reference's, the other soundfont's, the instrument's and what its vocoder alone makes of a mel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from specdiffd.base.events import Event, Performance
from specdiffd.dsp.mel import log_mel
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.prior.note_features import note_features
from specdiffd.reference.fluid import FluidRenderer
from specdiffd.render import stretches

Audio = NDArray[np.float32]
RENDER_RATE_HZ = 48000
# Other ways to use the same networks.
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
    """The instrument and two soundfonts, all at the instrument's rate: the reference, and another to see how far apart two of them are."""

    def __init__(self, instrument: SpectrogramInstrument, soundfont: str = "fluid") -> None:
        other = "fluid" if soundfont == "musescore" else "musescore"
        self.instrument, self.rate_hz = instrument, instrument.sample_rate_hz
        self._fonts = {"reference": FluidRenderer(soundfont, RENDER_RATE_HZ), "other": FluidRenderer(other, RENDER_RATE_HZ)}

    def font(self, events: Sequence[Event], duration_s: float, which: str = "reference") -> Audio:
        """What one of the soundfonts makes of the events."""
        audio = self._fonts[which].render(events, duration_s)
        return np.asarray(soxr.resample(audio, RENDER_RATE_HZ, self.rate_hz, quality="HQ"), np.float32)

    def play(self, events: Sequence[Event], duration_s: float) -> Audio:
        """What the instrument makes of them."""
        return timed_rendering(self.instrument, events, duration_s)[0]

    def mel(self, audio: Audio) -> NDArray[np.float32]:
        """Log mel (frames, mel_bins) in the instrument's format, natural log."""
        return log_mel(torch.from_numpy(audio), self.instrument.format).numpy()


def timed_rendering(instrument: SpectrogramInstrument, events: Sequence[Event], duration_s: float) -> tuple[Audio, float]:
    """Audio of exactly ``duration_s`` at the instrument's rate, and the real-time factor."""
    started = time.perf_counter()
    audio = np.zeros(round(duration_s * instrument.sample_rate_hz), np.float32)
    for first, piece, *_ in stretches(instrument, events):
        if first >= len(audio):
            break
        late = max(0, -first)
        there = piece[late : max(late, len(audio) - first), 0]
        audio[first + late : first + late + len(there)] += there
    return audio, (time.perf_counter() - started) / duration_s


def model_mel(instrument: SpectrogramInstrument, events: Sequence[Event], frames: int) -> NDArray[np.float32]:
    """The spectrogram that the instrument writes, before its vocoder: (frames, mel_bins), silence where it writes nothing."""
    mel = np.full((frames, instrument.format.mel_bins), instrument.format.log_floor, np.float32)
    for stretch in stretches(instrument, events):
        if stretch.first_frame >= frames:
            break
        late = max(0, -stretch.first_frame)
        there = stretch.mel[late : max(late, frames - stretch.first_frame)]
        mel[stretch.first_frame + late : stretch.first_frame + late + len(there)] = there
    return np.maximum(mel, instrument.format.log_floor)


@torch.inference_mode()
def copy_synthesis(instrument: SpectrogramInstrument, audio: Audio, score: Performance | None = None) -> Audio:
    """The reference's own mel through the vocoder, with the guide that it has of a score when it plays, or without."""
    fmt, prior = instrument.format, instrument.prior
    mel = log_mel(torch.from_numpy(audio), fmt)[None]
    guides = None
    if score is not None:
        starts_s = fmt.starts_s(0, mel.shape[1])
        guides = instrument.played(note_features(score, starts_s, prior.config.window_s, prior.config.ring_s)).guide[None]
    out = instrument.vocoded(mel, guides)[0]
    return np.pad(out, (0, max(0, len(audio) - len(out))))[: len(audio)]
