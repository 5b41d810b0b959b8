"""How many frames and tokens are rendered in one pass. The engine asks for these sizes, and the networks are compiled for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PassSizes:
    """Sizes of one pass through the networks.

    A compiled network has a few fixed sizes. A call is padded to the next larger one. A call larger than all of them runs uncompiled and is
    slow, so the engine asks for exactly these sizes.
    """

    revision_frames: int = 10  # with more, every note is heard later; with fewer, less forecast is left while the next slice is rendered
    late_frames: int = 4  # a revision may begin so many frames before its splice; with fewer it can take in fewer of the events that follow
    pass_frames: int = 64  # longer stretches are cut into passes of this length
    pass_tokens: int = 48  # more tokens are cut into passes of this length; an event can interrupt only between passes
    prepared_frames: int = 48  # windows are prepared so far ahead of the next slice; with fewer, a slice may wait for its window
    cache_rows: int = 256  # the caches of keys and values grow by this many rows; with fewer they are copied more often

    @property
    def longest_revision_frames(self) -> int:
        """Frames of a revision that begins before its splice."""
        return self.revision_frames + self.late_frames

    @property
    def unprepared_frames(self) -> int:
        """A draft is left unfinished if so many known frames must be read first: with more, finishing it would take longer than it lasts."""
        return 2 * self.revision_frames

    @property
    def decoder_frames(self) -> tuple[int, ...]:
        """Frames that the decoder is compiled for, ascending."""
        return self.revision_frames, self.longest_revision_frames, self.pass_frames

    @property
    def vocoder_frames(self) -> tuple[int, ...]:
        """Frames that the vocoder is compiled for, ascending; without the third, 26 frames took 7.7 ms instead of 5.4."""
        return self.revision_frames, self.longest_revision_frames, 2 * self.longest_revision_frames, self.pass_frames

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens that the notes encoder is compiled for, ascending: those of a few events, and those of a pass."""
        return self.pass_tokens // 3, self.pass_tokens


SIZES = PassSizes()
