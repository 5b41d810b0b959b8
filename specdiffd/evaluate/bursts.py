"""Bursts: is any moment far louder than the reference nearby, where notes end as others begin?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specdiffd.evaluate.pieces import chord_changes
from specdiffd.evaluate.rendering import Audio, Renderers

PROGRAMS = 128
SEED = 5  # of the pieces
PEAK_S = 0.005  # what a peak is of: shorter than an attack, longer than a period of what carries a burst
NEARBY_S = 0.03  # onsets are not to the millisecond the reference's, whose attacks are steep
MOST_DB = 9.0  # two notes in place of one are 6, a chord in phase instead of out of it a little more
INAUDIBLE = 1e-4  # amplitude, added to both: 80 dB below full scale


def evaluate_bursts(renderers: Renderers, progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """How many programs have a moment more than 9 dB over the reference's loudest within 30 ms, and the worst of all, in dB.

    Each program plays its own piece; levels are compared once the programs' median is the reference's.
    """
    pairs = []
    for program in range(PROGRAMS):
        piece = chord_changes(program, np.random.default_rng((SEED, program)))
        pairs.append((renderers.play(*piece), renderers.font(*piece)))
        progress()
    gain = _gain(pairs)
    worst_db = np.array([over_db(ours * gain, reference, renderers.rate_hz).max() for ours, reference in pairs])
    return {
        "programs_over_9_db": int((worst_db > MOST_DB).sum()),
        "worst_db": float(worst_db.max()),
        "worst_program": int(worst_db.argmax()),
        "over": {int(program): round(float(worst_db[program]), 1) for program in np.flatnonzero(worst_db > MOST_DB)},
    }


def over_db(ours: Audio, reference: Audio, rate_hz: int) -> NDArray[np.float64]:
    """Peaks of 5 ms over the largest of the reference's within 30 ms, (peaks,)."""
    mine, theirs = _peaks(ours, rate_hz), _peaks(reference, rate_hz)
    side = round(NEARBY_S / PEAK_S)
    near = np.lib.stride_tricks.sliding_window_view(np.pad(theirs, side, mode="edge"), 2 * side + 1).max(1)
    return np.asarray(20 * np.log10((mine + INAUDIBLE) / (near + INAUDIBLE)), np.float64)


def _peaks(audio: Audio, rate_hz: int) -> Audio:
    samples = round(PEAK_S * rate_hz)
    return np.abs(audio[: len(audio) // samples * samples]).reshape(-1, samples).max(1)


def _gain(pairs: Sequence[tuple[Audio, Audio]]) -> np.float32:
    """What brings the first of each pair to the level of the second, in the median over those that sound."""
    levels = [(np.sqrt(np.mean(ours**2)), np.sqrt(np.mean(reference**2))) for ours, reference in pairs]
    return np.float32(np.median([theirs / mine for mine, theirs in levels if min(mine, theirs) > INAUDIBLE] or [1.0]))
