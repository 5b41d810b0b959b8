"""Whether the decoder writes spectrograms like real ones, or a blurred mean of them. Measured on mels, before any vocoder."""

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
REFERENCE, OTHER_SEED = "reference", "other seed"
# The models that are compared: the sampler at several numbers of steps, the mean that it predicts without noise, the note prior.
MODELS = {name: changes for name, changes in VARIANTS.items() if name != "no context"}
PATCH_FRAMES, PATCH_BINS, DIMENSIONS = 8, 32, 48  # of the patches whose statistics are compared; principal components that are kept
AUDIBLE = 3.0  # nepers above the floor
JITTER_S = 0.0003  # onsets are moved by up to this much for another rendering of the same piece


def evaluate_honesty(
    renderers: Renderers,
    pieces: Sequence[tuple[str, str, Sequence[Event]]],
    duration_s: float,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Contrast and variance as shares of the reference's, Frechet distances on patches, and the distance between two seeds.

    ``moved`` is the reference with each onset moved by up to 0.3 ms. It shows how near two renderings of the same piece can be.
    """
    default = f"{renderers.instrument.steps} step" + "s" * (renderers.instrument.steps > 1)
    mels = _mels(renderers, pieces, duration_s, {**MODELS, default: {}, OTHER_SEED: {"seed": 1}}, progress)
    return {
        "models": _compared(mels),
        "another_noise_l1": _distance(mels[OTHER_SEED], mels[default]),
        "moved_onsets_l1": _distance(mels["moved"], mels[REFERENCE]),
    }


def _mels(
    renderers: Renderers,
    pieces: Sequence[tuple[str, str, Sequence[Event]]],
    duration_s: float,
    models: dict[str, dict[str, Any]],
    progress: Callable[[], None],
) -> dict[str, list[Mel]]:
    """The mels of all pieces by the reference, by the reference with moved onsets, by another soundfont, and by each of the models."""
    mels: dict[str, list[Mel]] = {name: [] for name in (REFERENCE, "moved", "other soundfont", *models)}
    for k, (_, _, events) in enumerate(pieces):
        for name, font, played in (
            (REFERENCE, "reference", list(events)),
            ("moved", "reference", _moved(events, k)),
            ("other soundfont", "other", list(events)),
        ):
            mels[name].append(renderers.mel(renderers.font(played, duration_s, font)))
        for name, changes in models.items():
            model: SpectrogramInstrument = renderers.instrument.with_settings(**changes)
            mels[name].append(model_mel(model, events, len(mels[REFERENCE][0])))
            progress()
    return mels


def _compared(mels: dict[str, list[Mel]]) -> dict[str, dict[str, float]]:
    """Each one's figures against the reference's, but for the reference and the other seed."""
    reference = mels[REFERENCE]
    contrast, variance, embed = _contrast(reference, reference), _variance(reference, reference), _embedding(reference)
    statistics = _statistics(embed(reference))
    return {
        name: {
            "contrast": _contrast(rendered, reference) / contrast,
            "variance": _variance(rendered, reference) / variance,
            "frechet": frechet(_statistics(embed(rendered)), statistics),
            "mel_l1": _distance(rendered, reference),
        }
        for name, rendered in mels.items()
        if name not in (REFERENCE, OTHER_SEED)
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


def _distance(mels: Sequence[Mel], reference: Sequence[Mel]) -> float:
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(mels, reference, strict=True)]))


def _contrast(mels: Sequence[Mel], reference: Sequence[Mel]) -> float:
    """Mean difference of neighbouring bins where the reference is audible, nepers."""
    audible = [r[:, 1:] > r.min() + AUDIBLE for r in reference]
    return float(np.mean(np.concatenate([np.abs(np.diff(m, axis=1))[a] for m, a in zip(mels, audible, strict=True)])))


def _variance(mels: Sequence[Mel], reference: Sequence[Mel]) -> float:
    """Variance of the difference of neighbouring frames where the reference is audible."""
    audible = [r[1:] > r.min() + AUDIBLE for r in reference]
    return float(np.var(np.concatenate([np.diff(m, axis=0)[a] for m, a in zip(mels, audible, strict=True)])))


def _patches(mels: Sequence[Mel]) -> NDArray[np.float64]:
    """Patches (N, PATCH_FRAMES * PATCH_BINS) that overlap by half of their bins; silent ones are left out."""
    rows = []
    for mel in mels:
        for first in range(0, mel.shape[1] - PATCH_BINS + 1, PATCH_BINS // 2):
            band = mel[: len(mel) // PATCH_FRAMES * PATCH_FRAMES, first : first + PATCH_BINS]
            rows.append(band.reshape(-1, PATCH_FRAMES * PATCH_BINS))
    patches = np.concatenate(rows).astype(np.float64)
    return patches[patches.max(1) > min(float(m.min()) for m in mels) + AUDIBLE]


def _embedding(reference: Sequence[Mel]) -> Callable[[Sequence[Mel]], NDArray[np.float64]]:
    """Principal components of the reference's patches, each scaled to variance 1, so that fine structure counts as much as loud sound."""
    patches = _patches(reference)
    mean = patches.mean(0)
    values, vectors = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
    basis = vectors[:, -DIMENSIONS:] / np.sqrt(values[-DIMENSIONS:])
    return lambda mels: np.asarray((_patches(mels) - mean) @ basis)


def _statistics(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance."""
    return x.mean(0), np.cov(x, rowvar=False)


def frechet(a: tuple[NDArray[np.float64], NDArray[np.float64]], b: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    """Frechet distance of two normal distributions given as mean and covariance (arXiv 1706.08500, equation 6)."""
    root = sqrtm(a[1] @ b[1])
    return float(np.sum((a[0] - b[0]) ** 2) + np.trace(a[1] + b[1] - 2 * np.real(root)))
