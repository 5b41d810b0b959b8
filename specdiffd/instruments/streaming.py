"""The interface of a published checkpoint's vocoder."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class StreamingVocoder(Protocol):
    """Turns mel frames into audio, a stretch at a time. States are values: an earlier one stays valid."""

    @property
    def lookahead_frames(self) -> int:
        """Frames by which the audio is late."""

    def init_state(self, batch: int = 1, frame: int = 0) -> Any:
        """The state before absolute frame ``frame``, after silence."""

    def step(self, mel: Tensor, state: Any, guide: Tensor | None = None) -> tuple[Tensor, Any]:
        """Natural-log mel (B, T, mel) to audio (B, T * hop), and the next state. ``guide`` (B, T, mel, 5) comes from the note prior, if there is one."""

    def rewind(self, state: Any, frames: int) -> Any:
        """The state ``frames`` frames earlier.

        Raises:
            ValueError: the history does not reach that far.
        """

    def finish(self, state: Any) -> Tensor:
        """The rest of the audio (B, n * hop), when no more frames come."""
