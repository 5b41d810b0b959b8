"""Caches of earlier tokens and frames for the next ones. All are values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor

from specdiffd.base.sizes import SIZES
from specdiffd.diffusion.layers import CausalConv2d

KeysValues = tuple[Tensor, Tensor]  # (B, heads, S, d) each
NEVER_VISIBLE = 1 << 30  # of padding, in Conditioning.visible_from: later than any frame


class Growing:
    """A tensor (n, B, c, S, d) that grows along S without copying the rows it has.

    A value: its rows never change. Appending writes after them into the spare rows of the buffer. If another value that shares the buffer
    has rows there, the rows are copied to a new buffer first.
    """

    __slots__ = ("__weakref__", "_buffer", "_users", "count")

    def __init__(self, buffer: Tensor, count: int | None = None, users: WeakSet[Growing] | None = None) -> None:
        self._buffer = buffer
        self.count = buffer.shape[3] if count is None else count
        self._users = WeakSet() if users is None else users  # of the buffer
        self._users.add(self)

    @property
    def tensor(self) -> Tensor:
        """The rows (n, B, c, count, d)."""
        return self._buffer[:, :, :, : self.count]

    def first(self, count: int) -> Growing:
        """The first ``count`` rows."""
        return Growing(self._buffer, min(count, self.count), self._users)

    def followed_by(self, more: Tensor) -> Growing:
        """These rows, then those of ``more`` (n, B, c, S, d)."""
        if more.requires_grad or self._buffer.requires_grad:
            return Growing(torch.cat((self.tensor, more), 3))
        count = self.count + more.shape[3]
        buffer, users = self._buffer, self._users
        if count > buffer.shape[3] or max(user.count for user in users) > self.count:
            room = list(buffer.shape)
            room[3] = -(-count // SIZES.cache_rows) * SIZES.cache_rows
            buffer, users = buffer.new_zeros(room), WeakSet()
            buffer[:, :, :, : self.count] = self.tensor
        buffer[:, :, :, self.count : count] = more
        return Growing(buffer, count, users)


def layer_of(stacked: Tensor, layer: int) -> KeysValues:
    """Keys and values (B, heads, S, d) of one layer, out of those of all layers (2 layers, B, heads, S, d)."""
    return stacked[2 * layer], stacked[2 * layer + 1]


def stack_layers(layers: Sequence[KeysValues]) -> Tensor:
    """All layers' keys and values in one tensor (2 layers, B, heads, S, d), which one operation cuts or joins."""
    return torch.stack([x for pair in layers for x in pair])


class NotesState(NamedTuple):
    """The tokens that a causal notes encoder has read."""

    keys_values: Growing  # (2 layers, B, heads, tokens, d)

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return self.keys_values.count

    def first(self, tokens: int) -> NotesState:
        """The state after the first ``tokens`` tokens."""
        return NotesState(self.keys_values.first(tokens))


class Conditioning(NamedTuple):
    """Encodings for the decoder's cross-attention; made once per window and kept."""

    keys_values: Growing  # (2 layers, B, heads, S, d)
    visible_from: Tensor  # (B, S) the first frame of the window that may attend to each encoding

    def first(self, encodings: int) -> Conditioning:
        """The first ``encodings`` encodings."""
        return Conditioning(self.keys_values.first(encodings), self.visible_from[:, :encodings])

    def followed_by(self, other: Conditioning) -> Conditioning:
        """These encodings, then those of ``other``."""
        together = torch.cat((self.visible_from, other.visible_from), 1)
        return Conditioning(self.keys_values.followed_by(other.keys_values.tensor), together)


class DecoderState(NamedTuple):
    """The causal decoder's cache of the first frames of a window."""

    keys_values: Growing  # (2 layers, B, heads, frames, d)
    images: tuple[Growing, ...]  # (1, B, C, 2 + frames, mel) each convolution's inputs, two empty frames before them

    @property
    def frames(self) -> int:
        """How many frames of the window there are."""
        return self.keys_values.count

    def first(self, frames: int) -> DecoderState:
        """The state after the first ``frames`` frames."""
        return DecoderState(self.keys_values.first(frames), tuple(x.first(CausalConv2d.TAPS - 1 + frames) for x in self.images))

    def followed_by(self, keys_values: Tensor, images: Sequence[Tensor]) -> DecoderState:
        """The state with the next frames: keys and values, and each convolution's input (B, C, frames, mel)."""
        together = tuple(old.followed_by(new[None]) for old, new in zip(self.images, images, strict=True))
        return DecoderState(self.keys_values.followed_by(keys_values), together)
