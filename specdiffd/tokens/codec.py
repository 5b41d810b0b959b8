"""Token vocabulary as data: which ids stand for which events.

The defaults are the published checkpoints' codec (arXiv 2206.05408, section 3.2; MT3's vocabulary without velocity).
A richer codec is other values of the same fields.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

PAD, EOS, UNKNOWN = 0, 1, 2
SPECIAL_IDS = 3
SPARE_IDS = 100  # reserved by the public code; they count when the table is rounded up to a multiple of 128

# The 34 program classes of the Slakh data set: a program's class is the largest one that is not above it.
SLAKH_PROGRAMS = (
    0,
    4,
    8,
    16,
    24,
    26,
    29,
    32,
    33,
    40,
    41,
    42,
    43,
    46,
    47,
    48,
    50,
    52,
    55,
    56,
    57,
    58,
    60,
    61,
    64,
    66,
    67,
    68,
    69,
    70,
    71,
    73,
    80,
    88,
)
GRANULARITIES = {
    "full": tuple(range(128)),
    "slakh": SLAKH_PROGRAMS,
    "family": tuple(range(0, 128, 8)),
}


@dataclass(frozen=True)
class Codec:
    """Ranges of the vocabulary, in the order of their ids.

    Raises:
        ValueError: a field is out of its range.
    """

    steps_per_second: int = 100
    max_shift_steps: int = 1000
    velocity_bins: int = 1
    program_granularity: str = "slakh"
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        if self.program_granularity not in GRANULARITIES:
            raise ValueError(f"program_granularity {self.program_granularity!r}: expected one of {', '.join(GRANULARITIES)}")
        for name, low, high in (
            ("steps_per_second", 1, 10000),
            ("max_shift_steps", 1, 100000),
            ("velocity_bins", 1, 127),
            ("max_tokens", 3, 1 << 20),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} {getattr(self, name)}: expected {low} to {high}")

    @cached_property
    def pitch_base(self) -> int:
        """Id of pitch 0."""
        return SPECIAL_IDS + self.max_shift_steps + 1

    @cached_property
    def velocity_base(self) -> int:
        """Id of velocity bin 0, which means note off."""
        return self.pitch_base + 128

    @cached_property
    def tie(self) -> int:
        """Id that ends the list of held notes."""
        return self.velocity_base + self.velocity_bins + 1

    @cached_property
    def program_base(self) -> int:
        """Id of program 0."""
        return self.tie + 1

    @cached_property
    def drum_base(self) -> int:
        """Id of drum 0."""
        return self.program_base + 128

    @cached_property
    def vocabulary_size(self) -> int:
        """Rows of the embedding table."""
        return -(-(self.drum_base + 128 + SPARE_IDS) // 128) * 128

    def shift(self, steps: int) -> int:
        """Id of a time, in steps from the window's start."""
        return SPECIAL_IDS + steps

    def velocity(self, velocity: int) -> int:
        """Id of a velocity, 0 to 127; 0 is note off. The bins are those of the public code: rounded up."""
        return self.velocity_base + -(-velocity * self.velocity_bins // 127)

    def program(self, program: int) -> int:
        """The class that ``program`` belongs to, as a program number."""
        classes = GRANULARITIES[self.program_granularity]
        return classes[bisect_right(classes, program) - 1]

    def steps(self, time_s: float) -> int:
        """A time in steps, rounded half up as the public code rounds."""
        return round(time_s * self.steps_per_second)

    def name(self, token: int) -> str:
        """A readable name of an id."""
        if token < SPECIAL_IDS:
            return ("pad", "eos", "unk")[token]
        for label, base, end in (
            ("shift", SPECIAL_IDS, self.pitch_base),
            ("pitch", self.pitch_base, self.velocity_base),
            ("velocity", self.velocity_base, self.tie),
            ("tie", self.tie, self.tie + 1),
            ("program", self.program_base, self.drum_base),
            ("drum", self.drum_base, self.drum_base + 128),
        ):
            if base <= token < end:
                return "tie" if label == "tie" else f"{label} {token - base}"
        return f"spare {token}"
