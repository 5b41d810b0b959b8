"""Bursts: whether any moment is far louder than the reference nearby, where notes end as new ones begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specdiffd.evaluate.pieces import chord_changes
from specdiffd.evaluate.rendering import Audio, Renderers

PROGRAMS = 128
SEED = 5  # of the pieces
PEAK_S = 0.005  # length of the blocks whose peaks are compared: shorter than an attack, longer than a period of a burst
NEARBY_S = 0.03  # the reference's attacks are steep, and onsets differ from them by milliseconds
MOST_DB = 9.0  # two notes instead of one are 6 dB, a chord whose tones are in phase is a little more
INAUDIBLE = 1e-4  # amplitude that is added to both, 80 dB below full scale, so that silence compares as equal


def evaluate_bursts(renderers: Renderers, progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """How many programs have a moment more than 9 dB above the reference's loudest within 30 ms, and the worst of all, in dB.

    Each program plays a piece of its own. Before the comparison one gain brings all pieces to the reference's level, in the median.
    """
    pairs = []
    for program in range(PROGRAMS):
        piece = chord_changes(program, np.random.default_rng((SEED, program)))
        pairs.append((renderers.play(*piece), renderers.font(*piece)))
        progress()
    gain = _gain(pairs)
    worst_db = np.array([excess_db(audio * gain, reference, renderers.rate_hz).max() for audio, reference in pairs])
    return {
        "programs_over_9_db": int((worst_db > MOST_DB).sum()),
        "worst_db": float(worst_db.max()),
        "worst_program": int(worst_db.argmax()),
        "over": {int(program): round(float(worst_db[program]), 1) for program in np.flatnonzero(worst_db > MOST_DB)},
    }


def excess_db(audio: Audio, reference: Audio, rate_hz: int) -> NDArray[np.float64]:
    """The peak of each 5 ms in dB above the reference's largest within 30 ms: (blocks,)."""
    side = round(NEARBY_S / PEAK_S)
    padded = np.pad(_peaks(reference, rate_hz), side, mode="edge")
    nearby = np.lib.stride_tricks.sliding_window_view(padded, 2 * side + 1).max(1)
    return np.asarray(20 * np.log10((_peaks(audio, rate_hz) + INAUDIBLE) / (nearby + INAUDIBLE)), np.float64)


def _peaks(audio: Audio, rate_hz: int) -> Audio:
    samples = round(PEAK_S * rate_hz)
    return np.abs(audio[: len(audio) // samples * samples]).reshape(-1, samples).max(1)


def _gain(pairs: Sequence[tuple[Audio, Audio]]) -> np.float32:
    """The gain that brings the first of each pair to the level of the second, in the median over pairs that sound."""
    levels = [(np.sqrt(np.mean(audio**2)), np.sqrt(np.mean(reference**2))) for audio, reference in pairs]
    return np.float32(np.median([wanted / level for level, wanted in levels if min(level, wanted) > INAUDIBLE] or [1.0]))
