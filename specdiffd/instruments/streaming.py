"""What an instrument needs to know of a vocoder that came with its checkpoint."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class StreamingVocoder(Protocol):
    """What turns mel frames into audio, a stretch at a time; states are values."""

    @property
    def lookahead_frames(self) -> int:
        """How many frames the audio comes behind."""

    def init_state(self, batch: int = 1, frame: int = 0) -> Any:
        """Nothing before absolute frame ``frame``."""

    def step(self, mel: Tensor, state: Any, guide: Tensor | None = None) -> tuple[Tensor, Any]:
        """(B, T, mel) natural log to (B, T * hop), and the next state."""

    def rewind(self, state: Any, frames: int) -> Any:
        """The state as it was so many frames earlier."""

    def finish(self, state: Any) -> Tensor:
        """What is still owed when no more frames come."""
