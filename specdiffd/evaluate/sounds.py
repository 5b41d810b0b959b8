"""Single sounds: whether each program is recognised, whether loudness follows velocity, when notes begin, drums, brightness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mir_eval
import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks
from scipy.stats import spearmanr

from specdiffd.base.messages import NOTE_ON
from specdiffd.evaluate.pieces import FAMILIES, crescendo, phrase, single_notes, strokes
from specdiffd.evaluate.rendering import Audio, Renderers
from specdiffd.reference.drums import drum_pattern

PROGRAMS = 128
ONE_OF_EACH_FAMILY = tuple(range(0, PROGRAMS, PROGRAMS // len(FAMILIES)))
VELOCITIES = tuple(range(10, 128, 9))
ONSET_SHARE = 0.05  # of a note's peak; a note begins where it first passes this
# Classes of strokes, by General MIDI's percussion keys. Open hats sound too much like closed ones to be a class.
DRUMS = {
    "kick": (35, 36),
    "snare": (37, 38, 39, 40),
    "hats": (42, 44, 46),
    "toms": (41, 43, 45, 47, 48, 50),
    "cymbals": (49, 51, 52, 53, 55, 57, 59),
}
DRUM_PATTERNS, PATTERN_S = 6, 12.0
ROUNDS = 60  # updates of the factorisation; with fewer, one stroke also activates the templates of similar ones
FRAMES_OF_A_STROKE = 4  # of 10 ms; each is a template
BRIGHT: dict[str, tuple[int, ...]] = {"cymbals": (49, 51, 57), "strings": (44, 48, 49), "bright leads": (80, 81, 84)}
HIGH_HZ = 8000.0


def evaluate_sounds(renderers: Renderers, progress: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """All figures of this module, by the name of the measure."""
    figures: dict[str, Any] = {}
    for measure in (retrieval, loudness, timing, drums, brightness):
        figures[measure.__name__] = measure(renderers)
        progress()
    return figures


def retrieval(renderers: Renderers) -> dict[str, Any]:
    """How often a program's phrase is nearest to the reference of the same program, or that one is among the three nearest, by mel L1."""
    mels = []
    for render in (renderers.play, renderers.font):
        mels.append(np.stack([renderers.mel(render(*phrase(program))) for program in range(PROGRAMS)]))
    instrument, reference = (m.reshape(PROGRAMS, -1) for m in mels)
    distance = np.stack([np.abs(reference - row).mean(1) for row in instrument])  # (instrument, reference)
    rank = (distance < np.diag(distance)[:, None]).sum(1)
    return {
        "top_1": float(np.mean(rank < 1)),
        "top_3": float(np.mean(rank < 3)),
        "not_in_top_3": [int(program) for program in np.flatnonzero(rank >= 3)],
    }


def loudness(renderers: Renderers) -> dict[str, Any]:
    """Rank correlation of velocity and level, and the mean error of the level, over one program of each family."""
    found: dict[str, list[float]] = {"instrument": [], "reference": [], "level_error_db": []}
    for program in ONE_OF_EACH_FAMILY:
        events, duration_s = crescendo(program, VELOCITIES)
        levels = {}
        for name, render in (("instrument", renderers.play), ("reference", renderers.font)):
            audio = render(events, duration_s)
            starts = [round((0.1 + k) * renderers.rate_hz) for k in range(len(VELOCITIES))]
            levels[name] = np.array([_level_db(audio[at : at + renderers.rate_hz // 2]) for at in starts])
            found[name].append(float(spearmanr(VELOCITIES, levels[name]).statistic))
        found["level_error_db"].append(float(np.abs(levels["instrument"] - levels["reference"]).mean()))
    return {
        "rank_correlation": float(np.mean(found["instrument"])),
        "least": min(found["instrument"]),
        "reference": float(np.mean(found["reference"])),
        "level_error_db": float(np.mean(found["level_error_db"])),
    }


def timing(renderers: Renderers, count: int = 12) -> dict[str, Any]:
    """Errors of the onsets of single notes, in ms. An onset is where a note first passes 5 % of its peak.

    Notes whose reference takes more than 30 ms from there to half of its peak have no clear onset and are left out.
    """
    errors: list[float] = []
    slow = 0
    for program in ONE_OF_EACH_FAMILY:
        events, onsets_s, duration_s = single_notes(program, count, program)
        audio, reference = renderers.play(events, duration_s), renderers.font(events, duration_s)
        for onset_s in onsets_s:
            first, last = (round((onset_s + s) * renderers.rate_hz) for s in (-0.03, 0.3))
            onset, half = (_passes(reference[first:last], share) for share in (ONSET_SHARE, 0.5))
            if np.isnan(onset) or half - onset > 0.03 * renderers.rate_hz:
                slow += 1
                continue
            errors.append((_passes(audio[first:last], ONSET_SHARE) - onset) / renderers.rate_hz * 1e3)
    p5, p25, p50, p75, p95 = np.nanpercentile(errors, (5, 25, 50, 75, 95))
    return {
        "median_ms": float(p50),
        "quartiles_apart_ms": float(p75 - p25),
        "p95_minus_p5_ms": float(p95 - p5),
        "notes": len(errors),
        "slow_attacks_left_out": slow,
    }


def drums(renderers: Renderers) -> dict[str, Any]:
    """F1 of drum strokes by class (within 50 ms), found by a factorisation whose templates are the reference's single strokes."""
    pitches = [pitch for group in DRUMS.values() for pitch in group]
    spectrum = _spectrum(renderers.font(*strokes(pitches)), renderers.rate_hz)
    templates = np.concatenate([spectrum[:, 9 + 100 * k :][:, :FRAMES_OF_A_STROKE] for k in range(len(pitches))], 1)
    found: dict[str, dict[str, list[float]]] = {name: {drum: [] for drum in DRUMS} for name in ("instrument", "reference")}
    for seed in range(DRUM_PATTERNS):
        pattern = [e for e in drum_pattern(np.random.default_rng(seed), PATTERN_S - 1) if e.data1 in pitches]
        pattern.sort()
        for name, render in (("instrument", renderers.play), ("reference", renderers.font)):
            activation = _activation(_spectrum(render(pattern, PATTERN_S), renderers.rate_hz), templates)
            for drum, members in DRUMS.items():
                struck = sorted(e.time_s for e in pattern if e.data1 in members and e.kind == NOTE_ON and e.data2)
                if struck:
                    rows = [FRAMES_OF_A_STROKE * pitches.index(pitch) + k for pitch in members for k in (0, 1)]
                    heard = _onsets(activation[rows].sum(0))
                    found[name][drum].append(float(mir_eval.onset.f_measure(np.array(struck), heard)[0]))
    f1 = {name: {drum: float(np.mean(scores)) for drum, scores in by_drum.items() if scores} for name, by_drum in found.items()}
    return {
        **{f"{drum}_ratio": value / max(1e-9, f1["reference"][drum]) for drum, value in f1["instrument"].items()},
        "reference_f1": float(np.mean(list(f1["reference"].values()))),
        "ratio": float(np.mean(list(f1["instrument"].values())) / np.mean(list(f1["reference"].values()))),
    }


def brightness(renderers: Renderers) -> dict[str, float | None]:
    """Power above 8 kHz over the reference's, in dB; None if the instrument's band ends there."""
    if renderers.instrument.format.high_hz <= HIGH_HZ:
        return dict.fromkeys(BRIGHT)
    found: dict[str, float | None] = {}
    for name, members in BRIGHT.items():
        powers = []
        for render in (renderers.play, renderers.font):
            sounds = [strokes(members)] if name == "cymbals" else [phrase(program) for program in members]
            powers.append(sum(_power_above(render(*sound), renderers.rate_hz) for sound in sounds))
        found[name] = float(10 * np.log10(powers[0] / powers[1]))
    return found


def _level_db(audio: Audio) -> float:
    return float(20 * np.log10(1e-7 + np.sqrt(np.mean(audio**2))))


def _passes(audio: Audio, share: float) -> float:
    """The first sample whose magnitude passes a share of the peak; NaN in silence."""
    magnitude = np.abs(audio)
    return float(np.argmax(magnitude > share * magnitude.max())) if magnitude.max() > 1e-4 else float("nan")


def _spectrum(audio: Audio, rate_hz: int) -> NDArray[np.float64]:
    """Magnitudes (bands, frames), 100 frames a second, in 60 bands of equal width in log frequency."""
    hop, size = rate_hz // 100, rate_hz // 25
    padded = np.pad(audio, (0, size))
    rows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    magnitude = np.abs(np.fft.rfft(rows, axis=1))
    hertz = np.fft.rfftfreq(size, 1 / rate_hz)
    band = np.digitize(hertz, np.geomspace(40, 0.99 * rate_hz / 2, 59))
    return np.stack([magnitude[:, band == b].sum(1) for b in range(60)]) + 1e-6


def _activation(spectrum: NDArray[np.float64], templates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative weights of the templates (Kullback-Leibler updates, Lee and Seung 2001)."""
    templates = templates / templates.sum(0)
    weights = np.full((templates.shape[1], spectrum.shape[1]), spectrum.mean())
    for _ in range(ROUNDS):
        weights *= templates.T @ (spectrum / (templates @ weights + 1e-9))
    return weights


def _onsets(activation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times in seconds of the peaks of the activation's rise that reach a sixth of the largest."""
    rise = np.maximum(np.diff(activation, prepend=0), 0)
    peaks, _ = find_peaks(rise, height=max(rise.max(), 1e-9) / 6, distance=4)
    return np.asarray(peaks / 100.0)


def _power_above(audio: Audio, rate_hz: int) -> float:
    power = np.abs(np.fft.rfft(audio)) ** 2
    return float(power[np.fft.rfftfreq(len(audio), 1 / rate_hz) >= HIGH_HZ].sum())
