"""The harmonic series on the mel axis, as compiled loops: the same as `specdiffd.prior.partials`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from specdiffd.base.loops import compiled, exp
from specdiffd.base.mel_scale_kernels import CORNER_HZ_32, MELS_PER_LOG_32, SEMITONE, MelAxis, hz_to_mel
from specdiffd.prior.dense_kernels import ONE, Floats, add_scaled, f32


class LobeTable(NamedTuple):
    """`partials.harmonic_lobes` as arrays."""

    power: Floats  # (steps, mel)
    step_hz: np.float32  # from one row to the next


@compiled
def place_partials(pitch: np.float32, log_inharmonicity: np.float32, axis: MelAxis, hertz: Floats, position: Floats, glide: Floats) -> None:
    """`partials.partials_hz` of one note, and the partials' places on the mel axis.

    Args:
        pitch: in semitones.
        log_inharmonicity: natural log.
        axis: of the bins.
        hertz: (H,) is filled with the partials' frequencies.
        position: (H,) is filled with their places on the mel axis, in bins.
        glide: (H,) is filled with the bins that they move by per semitone.
    """
    inharmonicity = exp(min(max(log_inharmonicity, f32(-14)), f32(-3)))
    fundamental = f32(440) * math.exp((pitch - f32(69)) * SEMITONE)
    for h in range(len(hertz)):
        number = f32(h + 1)
        hertz[h] = fundamental * number * math.sqrt(ONE + inharmonicity * number * number)
        position[h] = (hz_to_mel(hertz[h]) - axis.lowest_mel) * axis.bins_per_mel
        glide[h] = MELS_PER_LOG_32 * axis.bins_per_mel * SEMITONE * hertz[h] / (CORNER_HZ_32 + hertz[h])


@compiled
def add_partials(hertz: Floats, partials: Floats, lobes: LobeTable, shapes: Floats) -> None:
    """Add partials of power (K, H) at ``hertz`` (H,) to the power ``shapes`` (K, mel): `partials.partial_responses`."""
    bins = shapes.shape[1]
    response = np.empty(bins, np.float32)
    for h in range(len(hertz)):
        place = hertz[h] / lobes.step_hz
        if place >= f32(len(lobes.power) - 2):
            continue  # above the format's range
        lower = int(place)
        fraction = place - f32(lower)
        for m in range(bins):
            response[m] = (ONE - fraction) * lobes.power[lower, m] + fraction * lobes.power[lower + 1, m]
        for k in range(len(shapes)):
            add_scaled(partials[k, h], response, shapes[k])
