"""T5-style layers of the published networks, with the caches that streaming needs.

State-dict keys are those of the hub layout. No biases, no attention scaling, RMSNorm before each sublayer, gated
tanh-GELU (arXiv 1910.10683, 2002.05202). FiLM as in arXiv 1709.07871.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root-mean-square norm (arXiv 1910.07467), computed in float32."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Any shape with ``width`` last."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class DenseReluDense(nn.Module):
    """Gated feed-forward layer; the name is that of its state-dict keys."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(width, inner, bias=False)
        self.wi_1 = nn.Linear(width, inner, bias=False)
        self.wo = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads * d) to (B, heads, T, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Attention over heads: (B, heads, T, d) to (B, T, heads * d).

    Args:
        mask: True where a query may look, broadcastable to (B, heads, T, S); None: everywhere. A row without any True
            attends uniformly, as the public code's finite mask value makes it do.
        scale: 1 in the published networks, 1 / sqrt(d) in the built-in ones.
    """
    if mask is not None:
        bias = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale).transpose(1, 2).flatten(2)
    return F.scaled_dot_product_attention(query, key, value, scale=scale).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Encoder self-attention; keys ``q k v o``."""

    def __init__(self, width: int, heads: int, head_width: int, scale: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.q = nn.Linear(width, inner, bias=False)
        self.k = nn.Linear(width, inner, bias=False)
        self.v = nn.Linear(width, inner, bias=False)
        self.o = nn.Linear(inner, width, bias=False)
        self.heads, self.scale = heads, scale

    def forward(self, x: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, width) to (B, T, width), and the keys and values (B, heads, S, d), those of ``past`` before the new ones."""
        q, k, v = (split_heads(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        return self.o(attend(q, k, v, mask, self.scale)), (k, v)


class Attention(nn.Module):
    """Decoder attention, self or cross; keys ``to_q to_k to_v to_out.0``."""

    def __init__(self, width: int, heads: int, head_width: int, scale: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, width, bias=False)])
        self.heads, self.scale = heads, scale

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, width) to keys and values (B, heads, T, d)."""
        return split_heads(self.to_k(x), self.heads), split_heads(self.to_v(x), self.heads)

    def forward(self, x: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, width) to (B, T, width)."""
        query = split_heads(self.to_q(x), self.heads)
        return self.to_out[0](attend(query, key, value, mask, self.scale))


class FiLM(nn.Module):
    """x (1 + scale) + shift, both from the diffusion time's embedding."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.scale_bias = nn.Linear(inputs, 2 * width, bias=False)

    def forward(self, x: Tensor, embedding: Tensor, place: Tensor | None = None) -> Tensor:
        """x (B, T, width).

        Args:
            embedding: (B, 1, inputs); or (times, inputs), the few distinct diffusion times, with
            place: (B, T) which of them each frame has.
        """
        scale, shift = self.scale_shift(embedding, place)
        return x * (1 + scale) + shift

    def scale_shift(self, embedding: Tensor, place: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Both (B, 1 or T, width)."""
        table = self.scale_bias(embedding)
        scale, shift = (table if place is None else table[place]).chunk(2, -1)
        return scale, shift


def sinusoid_positions(length: int, width: int, max_period: float = 10000.0) -> Tensor:
    """Fixed positions (length, width): sine half, cosine half. Published checkpoints bring their own."""
    rates = torch.exp(-math.log(max_period) * torch.arange(width // 2) / (width // 2))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), -1)


def time_embedding(t: Tensor, width: int, max_time: float) -> Tensor:
    """Sinusoid (..., width) of t in [0, 1], scaled by ``max_time``, which is also the longest period."""
    half = width // 2
    rates = torch.exp(-math.log(max_time) / half * torch.arange(half, device=t.device, dtype=torch.float32))
    angles = (t.float() * max_time)[..., None] * rates
    return torch.cat((angles.sin(), angles.cos()), -1)
