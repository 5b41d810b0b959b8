"""The rolling window of 256 frames: the tokens of the score inside it, and the frames before it as context, encoded for the decoder."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from specdiffd.base.events import Performance
from specdiffd.base.formats import MelFormat
from specdiffd.base.sizes import SIZES
from specdiffd.diffusion.caches import NEVER_VISIBLE
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.encoders import ContextEncoder, NotesEncoder
from specdiffd.instruments.state import StreamState, Window
from specdiffd.tokens.codec import PAD, Codec
from specdiffd.tokens.window import WindowTokens, window_start, window_tokens


class Windows:
    """Makes windows and keeps them up to date with the score.

    Args:
        hop_frames: by which the window rolls.
        use_context: False: windows have no context.
    """

    def __init__(
        self,
        fmt: MelFormat,
        codec: Codec,
        notes_encoder: NotesEncoder,
        context_encoder: ContextEncoder,
        decoder: Decoder,
        hop_frames: int,
        use_context: bool,
    ) -> None:
        self._format, self._codec, self._hop_frames, self._use_context = fmt, codec, hop_frames, use_context
        self._notes_encoder, self._context_encoder, self._decoder = notes_encoder, context_encoder, decoder
        self._device = context_encoder.layer_norm.weight.device
        self.frames = decoder.config.targets_length

    def start_of(self, state: StreamState, end: int) -> int:
        """The first frame of the window in which frame ``end - 1`` is sampled."""
        return window_start(state.origin, end, self.frames, self._hop_frames)

    def tokens(self, performances: Sequence[Performance], start: int) -> list[WindowTokens]:
        """For each part the tokens of the window at frame ``start``."""
        frame_s = self._format.frame_s
        return [window_tokens(p, start * frame_s, (start + self.frames) * frame_s, self._codec) for p in performances]

    def empty(self, start: int, state: StreamState, parts: int, steps: int) -> Generator[None, None, Window]:
        """The window at frame ``start`` without tokens, in stages.

        Its context is the frames of ``state`` before the window. There is no context at the beginning of a sound.

        Args:
            steps: of sampling; each has its own cache of the window's frames.
        """
        config, weight = self._context_encoder.config, self._context_encoder.layer_norm.weight
        first = max(state.first_frame, start - self.frames)  # the encoder was trained with no more than a window
        if self._use_context and first < start:
            frames = self._format.scale(state.between(state.mel, first, start, self._format.log_floor))
            context = yield from self._context_encoder.encode(frames.to(weight.dtype))
        else:
            context = weight.new_zeros(parts, 0, config.d_model)
        visible_from = torch.zeros(context.shape[:2], dtype=torch.int64, device=self._device)
        conditioning = self._decoder.condition(context, visible_from)
        notes, decoder = self._notes_encoder.init_state(parts), (self._decoder.init_state(parts),) * steps
        return Window(start, [[] for _ in range(parts)], notes, conditioning, context.shape[1], decoder)

    def updated(self, old: Window, tokens: Sequence[WindowTokens], most_tokens: int | None = None) -> Generator[None, None, Window]:
        """The window with the current ``tokens``, in stages of one pass. The tokens it has in common with them are not encoded again.

        Args:
            tokens: of the window, for each part.
            most_tokens: encode no more than this; None: all.
        """
        ids = [t.ids[:-1] for t in tokens]  # no token follows the end mark, so a causal encoder needs no encoding of it
        common = min(_common_prefix(a, b) for a, b in zip(old.ids, ids, strict=True))
        if most_tokens is not None:
            ids = [i[: common + most_tokens] for i in ids]
        longest = max(len(i) for i in ids)
        notes, conditioning = old.notes.first(common), old.conditioning.first(old.context_frames + common)
        for first in range(common, longest, SIZES.pass_tokens):
            if first > common:
                yield
            columns = slice(first, min(first + SIZES.pass_tokens, longest))
            padded, visible_from = self._padded(tokens, ids, columns, old.start)
            encoded, notes = self._notes_encoder.extend(padded, notes)
            conditioning = conditioning.followed_by(self._decoder.condition(encoded, visible_from))
        return old._replace(ids=ids, notes=notes, conditioning=conditioning)

    def _padded(self, tokens: Sequence[WindowTokens], ids: Sequence[list[int]], columns: slice, start: int) -> tuple[Tensor, Tensor]:
        """Ids of the tokens in ``columns``, and the first frame of the window that may attend to each: (parts, N) both."""
        padded = torch.full((len(ids), columns.stop - columns.start), PAD)
        visible_from = torch.full(padded.shape, NEVER_VISIBLE)
        for part, (t, all_ids) in enumerate(zip(tokens, ids, strict=True)):
            new = all_ids[columns]
            padded[part, : len(new)] = torch.tensor(new)
            visible_from[part, : len(new)] = self._visible_from(t.times_s[: len(all_ids)][columns], start)
        return padded.to(self._device), visible_from.to(self._device)

    def _visible_from(self, times_s: Sequence[float], start: int) -> Tensor:
        """For each token the first frame of the window at ``start`` whose analysis window reaches beyond its event."""
        return torch.tensor([0 if math.isinf(t) else max(0, self._format.first_frame_of(t) - start) for t in times_s])


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """The length of the longest common prefix."""
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
