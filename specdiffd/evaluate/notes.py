"""Right notes: transcriptions of an instrument's renderings and of the reference's, and an ablation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from specdiffd.base.events import Event, Performance
from specdiffd.dsp.spectra import spectral_loss
from specdiffd.evaluate.rendering import VARIANTS, Audio, Renderers, copy_synthesis, timed_rendering
from specdiffd.evaluate.transcribe import note_f1, played, transcribe
from specdiffd.midi.score import Score

# The instrument without one part at a time, to see what each adds.
ABLATION = {name: changes for name, changes in VARIANTS.items() if name != "8 steps"}

ALWAYS = ("reference", "other soundfont", "vocoder copy", "vocoder copy, no score", "instrument")


class Row(NamedTuple):
    """One rendering of one piece, and its figures."""

    variant: str
    family: str
    song: str
    f1: float
    mel_l1: float  # nepers, against the reference's mel
    stft: float  # multi-resolution distance to the reference
    real_time_factor: float
    audio: Audio


def evaluate_notes(
    renderers: Renderers,
    pieces: Sequence[tuple[str, str, Sequence[Event]]],
    duration_s: float,
    variants: dict[str, dict[str, Any]],
    progress: Callable[[], None] = lambda: None,
) -> Iterator[Row]:
    """Note F1 and distances of the reference, another soundfont, copy-synthesis, the instrument and its variants, piece by piece."""
    for family, song, events in pieces:
        score = Score().extend(list(events)).performance
        target = renderers.font(events, duration_s)
        for name, audio, factor in _renderings(renderers, events, score, target, duration_s, variants):
            f1 = note_f1(played(score, duration_s), transcribe(audio, renderers.rate_hz))
            mel_l1 = float(np.abs(renderers.mel(audio) - renderers.mel(target)).mean())
            with torch.inference_mode():
                stft = float(
                    spectral_loss(torch.from_numpy(audio)[None], torch.from_numpy(target)[None], max(1, renderers.rate_hz // 16000))
                )
            yield Row(name, family, song, f1, mel_l1, stft, factor, audio)
            progress()


def _renderings(
    renderers: Renderers, events: Sequence[Event], score: Performance, target: Audio, duration_s: float, variants: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, Audio, float]]:
    instrument, other = renderers.instrument, renderers.font(events, duration_s, "other")
    untimed = (target, other, copy_synthesis(instrument, target, score), copy_synthesis(instrument, target))
    yield from zip(ALWAYS, untimed, (0.0,) * len(untimed), strict=False)
    yield ALWAYS[-1], *timed_rendering(instrument, events, duration_s)
    for name, changes in variants.items():
        yield name, *timed_rendering(instrument.with_settings(**changes), events, duration_s)


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means by variant and family: F1, its ratio to the reference's (None if that is 0), distances, real-time factor."""
    families = list(dict.fromkeys(r.family for r in rows))
    out = []
    for variant in dict.fromkeys(r.variant for r in rows):
        for family in (*families, "all"):
            group, reference = ([r for r in rows if r.variant == v and family in (r.family, "all")] for v in (variant, "reference"))
            f1, best = (float(np.mean([r.f1 for r in some])) for some in (group, reference))
            out.append(
                {
                    "variant": variant,
                    "family": family,
                    "note_f1": round(f1, 3),
                    "ratio": round(f1 / best, 3) if best else None,
                    "mel_l1": round(float(np.mean([r.mel_l1 for r in group])), 3),
                    "stft": round(float(np.mean([r.stft for r in group])), 3),
                    "real_time_factor": round(float(np.mean([r.real_time_factor for r in group])), 4),
                }
            )
    return out
