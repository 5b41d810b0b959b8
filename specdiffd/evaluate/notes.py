"""Right notes: transcription of an instrument's renderings against that of the reference's, and an ablation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from specdiffd.audio.mel import log_mel
from specdiffd.evaluate.transcribe import note_f1, played, transcribe
from specdiffd.events import Event, Performance
from specdiffd.instrument import SpectrogramInstrument
from specdiffd.midi.score import Score
from specdiffd.render import stretches
from specdiffd.train.fluid import FluidRenderer

Audio = NDArray[np.float32]
RENDER_RATE_HZ = 48000

# What each part adds, by leaving it out.
ABLATION: dict[str, dict[str, Any]] = {
    "1 step": {"steps": 1},
    "2 steps": {"steps": 2},
    "4 steps": {"steps": 4},
    "no noise": {"noise": 0.0, "steps": 1},
    "no context": {"use_context": False},
    "prior alone": {"use_decoder": False},
}


class Row(NamedTuple):
    """One way of rendering one piece."""

    variant: str
    family: str
    song: str
    f1: float
    mel_l1: float  # nepers, against the reference's mel
    real_time_factor: float


def evaluate_notes(
    instrument: SpectrogramInstrument,
    pieces: Sequence[tuple[str, str, Sequence[Event]]],
    duration_s: float,
    variants: dict[str, dict[str, Any]],
    progress: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Note F1 and mel distance of the reference, of vocoder copy-synthesis, of the instrument and of its variants."""
    reference = FluidRenderer("fluid", RENDER_RATE_HZ)
    rows: list[Row] = []
    for family, song, events in pieces:
        score = Score().extend(events).performance
        truth = reference.render(events, duration_s)
        target = soxr.resample(truth, RENDER_RATE_HZ, instrument.sample_rate_hz, quality="HQ")
        for name, audio, factor in _renderings(instrument, score, target, duration_s, variants):
            rows.append(_row(name, family, song, score, audio, target, instrument, factor))
            progress()
    return rows


def _renderings(
    instrument: SpectrogramInstrument, score: Performance, target: Audio, duration_s: float, variants: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, Audio, float]]:
    yield "reference", target, 0.0
    yield "vocoder copy", copy_synthesis(instrument, target), 0.0
    yield "instrument", *timed_rendering(instrument, score, duration_s)
    for name, changes in variants.items():
        yield name, *timed_rendering(instrument.with_settings(**changes), score, duration_s)


def _row(
    name: str, family: str, song: str, score: Performance, audio: Audio, target: Audio, instrument: SpectrogramInstrument, factor: float
) -> Row:
    truth = played(score, len(target) / instrument.sample_rate_hz)
    f1 = note_f1(truth, transcribe(audio, instrument.sample_rate_hz))
    mels = [log_mel(torch.from_numpy(a), instrument.format) for a in (audio, target)]
    return Row(name, family, song, f1, float((mels[0] - mels[1]).abs().mean()), factor)


def timed_rendering(instrument: SpectrogramInstrument, score: Performance, duration_s: float) -> tuple[Audio, float]:
    """Audio of exactly ``duration_s`` at the instrument's rate, and the real-time factor."""
    started = time.perf_counter()
    audio = np.zeros(round(duration_s * instrument.sample_rate_hz), np.float32)
    for first, piece, *_ in stretches(instrument, score):
        late = max(0, -first)
        there = piece[late : max(late, len(audio) - first)]
        audio[first + late : first + late + len(there)] += there
    return audio, (time.perf_counter() - started) / duration_s


@torch.inference_mode()
def copy_synthesis(instrument: SpectrogramInstrument, audio: Audio) -> Audio:
    """The reference's own mel through the vocoder, without a score."""
    mel = log_mel(torch.from_numpy(audio), instrument.format)
    out = instrument.vocoder(mel[None])[0].numpy()
    return np.pad(out, (0, max(0, len(audio) - len(out))))[: len(audio)]


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means by variant and family: F1, its ratio to the reference's, mel distance, real-time factor."""
    families = list(dict.fromkeys(r.family for r in rows))
    out = []
    for variant in dict.fromkeys(r.variant for r in rows):
        for family in (*families, "all"):
            mine, theirs = ([r for r in rows if r.variant == v and family in (r.family, "all")] for v in (variant, "reference"))
            f1, best = (float(np.mean([r.f1 for r in group])) for group in (mine, theirs))
            out.append(
                {
                    "variant": variant,
                    "family": family,
                    "note_f1": round(f1, 3),
                    "ratio": round(f1 / max(best, 1e-9), 3),
                    "mel_l1": round(float(np.mean([r.mel_l1 for r in mine])), 3),
                    "real_time_factor": round(float(np.mean([r.real_time_factor for r in mine])), 4),
                }
            )
    return out
