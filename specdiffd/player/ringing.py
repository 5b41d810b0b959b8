"""When a sound has ended, and what no later sound depends on: the same live and offline."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from specdiffd.base.events import Performance
from specdiffd.base.instrument import Instrument
from specdiffd.midi.score import Score

SILENCE = 2e-5  # peak under which a released sound is over, 94 dB under full scale: a higher one cuts off quiet releases
RELEASED_S = 0.1  # after its end a note is not over sooner however quiet it is: a slow attack may still rise
CONTROLLERS_S = 1.0  # before the playhead: no frame that is rendered again lies further back


def is_over(performances: Iterable[Performance], until_s: float, peak: float, ring_s: float) -> bool:
    """No note is held, and all have rung out: by the clock, or by their level.

    Args:
        performances: everything that may sound.
        until_s: end of the rendered audio.
        peak: of the audio rendered last, 1 at full scale.
        ring_s: how long after its end a note may be heard.
    """
    last_s = max((note.end_s for performance in performances for note in performance.notes), default=-math.inf)
    return last_s + ring_s < until_s or (last_s < until_s - RELEASED_S and peak < SILENCE)


def anything_sounds(performances: Iterable[Performance], from_s: float, ring_s: float) -> bool:
    """Whether any note is heard at or after ``from_s``."""
    return any(note.end_s + ring_s > from_s for performance in performances for note in performance.notes)


def forget(score: Score, instrument: Instrument[Any], now_s: float) -> None:
    """Drop from a score what neither a window that ends at ``now_s`` nor the window before it contains."""
    i = instrument
    windows_s = 2 * i.window_frames * i.hop_samples / i.sample_rate_hz
    score.forget(now_s - windows_s - i.ring_s, now_s - CONTROLLERS_S)
