"""Layers of the decoder, named as in the hub layout."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from specdiffd.diffusion.caches import KeysValues
from specdiffd.diffusion.config import DecoderConfig
from specdiffd.diffusion.layers import CrossAttention, DecoderSelfAttention, DenseReluDense, FiLM, RMSNorm, modulate


class DecoderAttention(nn.Module):
    """``layer.0`` of a decoder layer."""

    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.layer_norm = RMSNorm(c.d_model)
        self.FiLMLayer = FiLM(c.time_width, c.d_model)
        self.attention = DecoderSelfAttention(c.d_model, c.num_heads, c.d_kv, c.attention_scale)

    def forward(self, x: Tensor, film: Tensor, past: KeysValues | None, bias: Tensor | None) -> tuple[Tensor, KeysValues]:
        """(B, T, d) to (B, T, d), and the new keys and values."""
        y, new = self.attention(modulate(self.layer_norm(x), film), past, bias)
        return x + y, new


class DecoderCross(nn.Module):
    """``layer.1`` of a decoder layer."""

    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.attention = CrossAttention(c.d_model, c.num_heads, c.d_kv, c.attention_scale)
        self.layer_norm = RMSNorm(c.d_model)

    def forward(self, x: Tensor, notes: KeysValues, bias: Tensor) -> Tensor:
        """(B, T, d) to (B, T, d)."""
        return x + self.attention(self.layer_norm(x), *notes, bias)


class DecoderDense(nn.Module):
    """``layer.2`` of a decoder layer."""

    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.DenseReluDense = DenseReluDense(c.d_model, c.d_ff)
        self.film = FiLM(c.time_width, c.d_model)
        self.layer_norm = RMSNorm(c.d_model)

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        """(B, T, d) to (B, T, d)."""
        return x + self.DenseReluDense(modulate(self.layer_norm(x), film))


class DecoderLayer(nn.Module):
    """Self-attention with FiLM, cross-attention, feed-forward with FiLM; named as in the hub layout."""

    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([DecoderAttention(c), DecoderCross(c), DecoderDense(c)])

    def film_tables(self, time: Tensor) -> list[Tensor]:
        """Of the embeddings (..., time_width): (..., 2, d) for self-attention and feed-forward."""
        return [self.attention.FiLMLayer.table(time), self.dense.film.table(time)]

    def forward(
        self, x: Tensor, films: Tensor, past: KeysValues | None, bias: Tensor | None, notes: KeysValues, notes_bias: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """(B, T, d) to (B, T, d), and the self-attention's new keys and values; ``films`` (B, 1 or T, 2, 2, d)."""
        x, new = self.attention(x, films[:, :, 0], past, bias)
        return self.dense(self.cross(x, notes, notes_bias), films[:, :, 1]), new

    @property
    def attention(self) -> DecoderAttention:
        """``layer.0``."""
        return cast(DecoderAttention, self.layer[0])

    @property
    def cross(self) -> DecoderCross:
        """``layer.1``."""
        return cast(DecoderCross, self.layer[1])

    @property
    def dense(self) -> DecoderDense:
        """``layer.2``."""
        return cast(DecoderDense, self.layer[2])
