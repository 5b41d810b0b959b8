"""Is what the decoder writes like real spectrograms, or a blurred mean of them? On mels, before any vocoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from specdiffd.base.events import Event
from specdiffd.base.messages import NOTE_OFF, NOTE_ON
from specdiffd.evaluate.rendering import VARIANTS, Renderers, model_mel
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.reference.parts import order

Mel = NDArray[np.float32]
# What is compared: the sampler at several numbers of steps, the mean that it would predict without noise, the note prior.
MODELS = {name: changes for name, changes in VARIANTS.items() if name != "no context"}
PATCH_FRAMES, PATCH_BINS, DIMENSIONS = 8, 32, 48  # of the patches whose statistics are compared, and how many of their components
AUDIBLE = 3.0  # nepers above the floor
JITTER_S = 0.0003  # by which onsets are moved for another rendering of the same


def evaluate_honesty(
    renderers: Renderers,
    pieces: Sequence[tuple[str, str, Sequence[Event]]],
    duration_s: float,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Contrast and variance as shares of the reference's, Frechet distances on patches, and what another noise changes.

    ``moved`` is the reference with each onset moved by up to 0.3 ms: what is as near as two renderings of the same can be.
    """
    default = f"{renderers.instrument.steps} step" + "s" * (renderers.instrument.steps > 1)
    models: dict[str, dict[str, Any]] = {**MODELS, default: {}, "other seed": {"seed": 1}}
    mels: dict[str, list[Mel]] = {name: [] for name in ("reference", "moved", "other soundfont", *models)}
    for k, (_, _, events) in enumerate(pieces):
        for name, which, played in (
            ("reference", "reference", list(events)),
            ("moved", "reference", _moved(events, k)),
            ("other soundfont", "other", list(events)),
        ):
            mels[name].append(renderers.mel(renderers.font(played, duration_s, which)))
        for name, changes in models.items():
            model: SpectrogramInstrument = renderers.instrument.with_settings(**changes)
            mels[name].append(model_mel(model, events, len(mels["reference"][0])))
            progress()
    contrast, variance = ({name: measure(own, mels["reference"]) for name, own in mels.items()} for measure in (_contrast, _variance))
    embed = _embedding(mels["reference"])
    statistics = {name: _statistics(embed(own)) for name, own in mels.items()}
    return {
        "models": {
            name: {
                "contrast": contrast[name] / contrast["reference"],
                "variance": variance[name] / variance["reference"],
                "frechet": frechet(statistics[name], statistics["reference"]),
                "mel_l1": _distance(mels[name], mels["reference"]),
            }
            for name in mels
            if name not in ("reference", "other seed")
        },
        "another_noise_l1": _distance(mels["other seed"], mels[default]),
        "moved_onsets_l1": _distance(mels["moved"], mels["reference"]),
    }


def _moved(events: Sequence[Event], seed: int) -> list[Event]:
    rng = np.random.default_rng(seed)
    return sorted(
        (
            e._replace(time_s=max(0.0, e.time_s + float(rng.uniform(-JITTER_S, JITTER_S)))) if e.kind in (NOTE_ON, NOTE_OFF) else e
            for e in events
        ),
        key=order,
    )


def _distance(mine: Sequence[Mel], theirs: Sequence[Mel]) -> float:
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(mine, theirs, strict=True)]))


def _contrast(mels: Sequence[Mel], reference: Sequence[Mel]) -> float:
    """Mean difference of neighbouring bins where the reference is audible, nepers."""
    there = [r[:, 1:] > r.min() + AUDIBLE for r in reference]
    return float(np.mean(np.concatenate([np.abs(np.diff(m, axis=1))[t] for m, t in zip(mels, there, strict=True)])))


def _variance(mels: Sequence[Mel], reference: Sequence[Mel]) -> float:
    """Variance of the difference of neighbouring frames where the reference is audible."""
    there = [r[1:] > r.min() + AUDIBLE for r in reference]
    return float(np.var(np.concatenate([np.diff(m, axis=0)[t] for m, t in zip(mels, there, strict=True)])))


def _patches(mels: Sequence[Mel]) -> NDArray[np.float64]:
    """Patches (N, PATCH_FRAMES * PATCH_BINS), half overlapping, the silent ones left out."""
    rows = []
    for mel in mels:
        for first in range(0, mel.shape[1] - PATCH_BINS + 1, PATCH_BINS // 2):
            band = mel[: len(mel) // PATCH_FRAMES * PATCH_FRAMES, first : first + PATCH_BINS]
            rows.append(band.reshape(-1, PATCH_FRAMES * PATCH_BINS))
    patches = np.concatenate(rows).astype(np.float64)
    return patches[patches.max(1) > min(float(m.min()) for m in mels) + AUDIBLE]


def _embedding(reference: Sequence[Mel]) -> Callable[[Sequence[Mel]], NDArray[np.float64]]:
    """Principal components of the reference's patches, each scaled to variance 1: small structure counts as much as loud."""
    patches = _patches(reference)
    mean = patches.mean(0)
    values, vectors = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
    basis = vectors[:, -DIMENSIONS:] / np.sqrt(values[-DIMENSIONS:])
    return lambda mels: np.asarray((_patches(mels) - mean) @ basis)


def _statistics(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return x.mean(0), np.cov(x, rowvar=False)


def frechet(a: tuple[NDArray[np.float64], NDArray[np.float64]], b: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    """Frechet distance of two normal distributions given as mean and covariance (arXiv 1706.08500, equation 6)."""
    root = sqrtm(a[1] @ b[1])
    return float(np.sum((a[0] - b[0]) ** 2) + np.trace(a[1] + b[1] - 2 * np.real(root)))
