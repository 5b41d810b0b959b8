"""The sizes of the note prior and of its tables, for the torch form and the compiled loops alike. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from specdiffd.base.mel_scale import hz_to_mel

DRUM_PROGRAM = 128  # the row of the program tables that all drums share
KEYS = 128
# Keys that have rows in the gain tables: a piano's. A key outside takes the nearest one's row, transposed to its pitch.
COLOURED = range(21, 109)
# Ages at which a key has colours: seconds from the onset to a frame's first sample. Gains are interpolated between them. The error on
# single notes outside the training set is 0.56 nepers without colours, 0.38 with one, 0.34 with three, 0.31 with these six, 0.28 with 16.
COLOUR_AGES_S = (-0.03, 0.0, 0.06, 0.2, 0.6, 1.6)
# Velocities, 0 to 1, at which a key has dynamics: many programs have separate recordings for loud notes. The same error with the colours
# alone is 0.29 nepers; with dynamics of each bin 0.24, of bands of two, four and eight bins 0.243, 0.247 and 0.251.
DYNAMICS = (0.15, 0.35, 0.55, 0.75, 0.95)
BAND = 4  # bins that share one gain of dynamics and of roughness
# Ages at which a key has details: the rest of what its recording does. They are densest where notes begin. The same error is 0.203 nepers
# without details, 0.160 with some 40 ages, 0.148 with 76.
DETAIL_AGES_S = (
    *(round(0.01 * k, 2) for k in range(-4, 20)),
    *(round(0.02 * k, 2) for k in range(10, 25)),
    *(round(0.05 * k, 2) for k in range(10, 22)),
    *(round(0.1 * k, 1) for k in range(11, 20)),
)
DETAIL_AGES, DETAIL_BINS = 2, 4  # a detail's code stands for a pattern of 2 ages and 4 bins
PATTERNS = 256  # the codes are bytes
PITCH_OCTAVES = tuple(2 ** (0.9 * k) for k in range(6))  # frequencies of the sinusoids that encode a pitch for the networks
PITCH_FEATURES = 1 + 2 * len(PITCH_OCTAVES)
VELOCITY_FEATURES = 3
PROGRAM_WIDTH, KEY_WIDTH = 32, 16  # of the embeddings
HAT_S = 0.005  # distance of the hat functions that encode an age: fine enough to tell where in a frame an event lies
HATS_AFTER_S = 0.06  # the hats end this long after the event
DECAYS_S = (0.02, 0.06, 0.2, 0.6, 2.0, 6.0)  # time constants of the exponentials that encode an age


class Ages(NamedTuple):
    """Two ages of a note, in seconds, whose levels are compared."""

    first_s: float
    last_s: float


# A held note sustains or not by its levels at SUSTAIN_AGES; how fast it decays is measured at DECAY_AGES. The training notes last some
# seconds, so the network's levels at later ages are arbitrary.
SUSTAIN_AGES, DECAY_AGES = Ages(4.0, 6.0), Ages(8.0, 12.0)
ATTACK_AGES = Ages(0.06, 0.5)  # a note with a slow attack is louder at the last
SUSTAIN_NEPERS_PER_S = 0.09  # 0.8 dB: a note that decays more slowly sustains
# For this long after a release the networks tell a short note from one as long as its attack. The error at the ends of 768 notes of up to
# 0.42 s, with random keys and velocities of each program, is 0.108 nepers without `extrapolation.released_early`, 0.097 with 0.1 to 0.3 s.
RELEASE_KNOWN_S = 0.25


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of the note prior, and the mel format that its harmonics are placed in."""

    mel_bins: int = 128
    sample_rate_hz: int = 16000
    window_samples: int = 640
    fft_size: int = 1024
    low_hz: float = 0.0
    high_hz: float = 8000.0
    log_floor: float = math.log(1e-5)
    shapes: int = 16
    harmonics: int = 48
    width: int = 256
    frame_width: int = 64
    memory: int = 96
    ring_s: float = 3.0

    @property
    def window_s(self) -> float:
        """Length of a frame's window, in seconds."""
        return self.window_samples / self.sample_rate_hz

    @property
    def lowest_mel(self) -> float:
        """The lower edge of the first bin's triangle, in mels."""
        return hz_to_mel(self.low_hz)

    @property
    def mels_per_bin(self) -> float:
        """The distance of the bins' centres, in mels."""
        return (hz_to_mel(self.high_hz) - hz_to_mel(self.low_hz)) / (self.mel_bins + 1)

    @property
    def bands(self) -> int:
        """Bands of :data:`BAND` bins."""
        return self.mel_bins // BAND

    @property
    def hats(self) -> int:
        """Hat functions of an age; the first lies one window before the event."""
        return round((self.window_s + HATS_AFTER_S) / HAT_S) + 1

    @property
    def age_features(self) -> int:
        """Inputs of the envelope network for one age: hats, exponentials, a logarithm, and whether the event has happened."""
        return self.hats + len(DECAYS_S) + 2

    @property
    def frame_features(self) -> int:
        """Inputs of the envelope network for a frame: three ages, pedal and modulation."""
        return 3 * self.age_features + 2
