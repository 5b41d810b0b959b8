"""What the decoder learns from: a window's mel, the frames before it, and the score inside it."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from specdiffd.base.formats import MelFormat
from specdiffd.prior.config import PriorConfig
from specdiffd.prior.note_features import NoteFeatures
from specdiffd.reference.parts import Rng
from specdiffd.tokens.codec import Codec
from specdiffd.tokens.window import window_tokens
from specdiffd.train.data import PieceBank, draw_excerpt, piece_mel


class WindowExample(NamedTuple):
    """One window to learn from."""

    target: Tensor  # (F, mel) natural log
    context: Tensor  # (n, mel) natural log, the frames before the window; n may be 0
    features: NoteFeatures
    ids: list[int]  # (tokens,)
    visible_from: list[int]  # (tokens,) the first frame that may look at each token


def window_example(bank: PieceBank, fmt: MelFormat, codec: Codec, config: PriorConfig, frames: int, rng: Rng) -> WindowExample:
    """A window of ``frames`` at a random place of a random piece, with none, some or all of its context."""
    piece, start, features = draw_excerpt(bank, fmt, config, frames, -(-frames // 4), rng)
    tokens = window_tokens(piece.performance, start * fmt.frame_s, (start + frames) * fmt.frame_s, codec)
    visible_from = [0 if t == -math.inf else max(0, fmt.first_frame_of(t) - start) for t in tokens.times_s[:-1]]
    context = _context_frames(start, frames, rng)
    mel = piece_mel(piece, fmt, start - context, context + frames)
    return WindowExample(mel[context:], mel[:context], features, tokens.ids[:-1], visible_from)


def _context_frames(start: int, frames: int, rng: Rng) -> int:
    """Frames of context: none in one window of six, a part in another one, else all; none before the piece."""
    some = int(rng.integers(1, frames))
    length = {0: 0, 1: some}.get(int(rng.integers(6)), frames)
    return min(length, max(0, start))
