"""T5-style layers of the published networks.

State-dict keys are those of the hub layout. No biases, no attention scaling, RMSNorm before each sublayer, gated
tanh-GELU (arXiv 1910.10683, 2002.05202). FiLM as in arXiv 1709.07871.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

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


class FusedModule(nn.Module):
    """A module whose state dict shows some of its parameters in parts, under the names of the hub layout.

    One product with three stacked weights is faster than three products, and a revision consists of small products.
    """

    FUSED: ClassVar[dict[str, tuple[str, ...]]] = {}  # parameter: the names of its parts, stacked along dimension 0

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, parts in self.FUSED.items():
            whole = destination.pop(prefix + name)
            for part, rows in zip(parts, whole.chunk(len(parts)), strict=True):
                destination[f"{prefix}{part}.weight"] = rows

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for name, parts in self.FUSED.items():
            keys = [f"{prefix}{part}.weight" for part in parts]
            if all(key in state_dict for key in keys):
                state_dict[prefix + name] = torch.cat([state_dict.pop(key) for key in keys])
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _weight(outputs: int, inputs: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(outputs, inputs) / math.sqrt(3 * inputs))


class DenseReluDense(FusedModule):
    """Gated feed-forward layer; keys ``wi_0 wi_1 wo``."""

    FUSED: ClassVar = {"wi": ("wi_0", "wi_1")}

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.wi = _weight(2 * inner, width)
        self.wo = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        gate, value = F.linear(x, self.wi).chunk(2, -1)
        return self.wo(F.gelu(gate, approximate="tanh") * value)


NOWHERE = -1e30  # masks any score; finite in bfloat16 too, and after scaling


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads * d) to (B, heads, T, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Attention over heads: (B, heads, T, d) to (B, T, heads * d).

    Args:
        bias: from :func:`mask_bias`, broadcastable to (B, heads, T, S); None: every query may attend to every key.
        scale: 1 in the published networks, 1 / sqrt(d) in the built-in ones.
    """
    if scale != 1:
        query = query * scale  # cheaper than scaling the keys: there are more of those
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0).transpose(1, 2).flatten(2)


def following(past: tuple[Tensor, Tensor] | None, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values (B, heads, S, d), those of ``past`` first."""
    return (key, value) if past is None else (torch.cat((past[0], key), 2), torch.cat((past[1], value), 2))


def mask_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bias on the scores: 0 where ``mask`` is True, ``NOWHERE`` elsewhere.

    It is finite in float32 and bfloat16, so that a row without any True attends uniformly, as in the public code.
    """
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, NOWHERE)


def joined_bias(past: Tensor, present: Tensor) -> Tensor:
    """Bias (T, S + T) from that on earlier keys (1, S), the same for every query, and that on the T new keys (T, T)."""
    return torch.cat((past.expand(present.shape[0], -1), present), 1)  # not len(): the tracer would make it a constant


class SelfAttention(FusedModule):
    """Encoder self-attention; keys ``q k v o``."""

    FUSED: ClassVar = {"qkv": ("q", "k", "v")}

    def __init__(self, width: int, heads: int, head_width: int, scale: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.qkv = _weight(3 * inner, width)
        self.o = nn.Linear(inner, width, bias=False)
        self.heads, self.scale = heads, scale

    def forward(self, x: Tensor, bias: Tensor | None, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, width) to (B, T, width), and the new keys and values (B, heads, T, d), which follow those of ``past``."""
        q, k, v = (split_heads(part, self.heads) for part in F.linear(x, self.qkv).chunk(3, -1))
        return self.o(attend(q, *following(past, k, v), bias, self.scale)), (k, v)


class Attention(FusedModule):
    """Decoder attention; keys ``to_q to_k to_v to_out.0``. Self-attention projects all three at once, cross-attention two."""

    def __init__(self, width: int, heads: int, head_width: int, scale: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.to_out = nn.ModuleList([nn.Linear(inner, width, bias=False)])
        self.heads, self.scale, self.inner = heads, scale, inner


class DecoderSelfAttention(Attention):
    """Attention from frames to frames."""

    FUSED: ClassVar = {"to_qkv": ("to_q", "to_k", "to_v")}

    def __init__(self, width: int, heads: int, head_width: int, scale: float) -> None:
        super().__init__(width, heads, head_width, scale)
        self.to_qkv = _weight(3 * self.inner, width)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None, bias: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, width) to (B, T, width), and the new keys and values (B, heads, T, d), which follow those of ``past``."""
        q, k, v = (split_heads(part, self.heads) for part in F.linear(x, self.to_qkv).chunk(3, -1))
        return self.to_out[0](attend(q, *following(past, k, v), bias, self.scale)), (k, v)


class CrossAttention(Attention):
    """Attention from frames to encodings."""

    FUSED: ClassVar = {"to_kv": ("to_k", "to_v")}

    def __init__(self, width: int, heads: int, head_width: int, scale: float) -> None:
        super().__init__(width, heads, head_width, scale)
        self.to_q = nn.Linear(width, self.inner, bias=False)
        self.to_kv = _weight(2 * self.inner, width)

    def keys_values(self, encodings: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, width) to keys and values (B, heads, S, d)."""
        key, value = F.linear(encodings, self.to_kv).chunk(2, -1)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def forward(self, x: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, width) to (B, T, width)."""
        return self.to_out[0](attend(split_heads(self.to_q(x), self.heads), key, value, bias, self.scale))


class FiLM(nn.Module):
    """x (1 + scale) + shift, both from the diffusion time's embedding."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.scale_bias = nn.Linear(inputs, 2 * width, bias=False)

    def table(self, embedding: Tensor) -> Tensor:
        """Embeddings (..., inputs) to 1 + scale and shift (..., 2, width). They depend on the time alone, so they are made once."""
        table = self.scale_bias(embedding).unflatten(-1, (2, -1))
        return table + torch.tensor([[1.0], [0.0]], dtype=table.dtype, device=table.device)


def modulate(x: Tensor, table: Tensor) -> Tensor:
    """x (B, T, width) by a FiLM table (B, 1 or T, 2, width)."""
    factor, shift = table.unbind(-2)
    return torch.addcmul(shift, x, factor)


def sinusoid_positions(length: int, width: int, max_period: float = 10000.0) -> Tensor:
    """Fixed positions (length, width): sine half, cosine half. Published checkpoints contain theirs."""
    rates = torch.exp(-math.log(max_period) * torch.arange(width // 2) / (width // 2))
    angles = torch.arange(length)[:, None] * rates
    return F.pad(torch.cat((angles.sin(), angles.cos()), -1), (0, width % 2))


def position_table(length: int, width: int) -> nn.Embedding:
    """Fixed positions (length, width) as a layer, since checkpoints store them."""
    table = nn.Embedding(length, width)
    table.weight = nn.Parameter(sinusoid_positions(length, width), requires_grad=False)
    return table


def time_embedding(t: Tensor, width: int, max_time: float) -> Tensor:
    """Sinusoid (..., width) of t in [0, 1], scaled by ``max_time``, which is also the longest period; sines, then cosines.

    The periods run from 1 to ``max_time``, both included, as in the public code.
    """
    half = width // 2
    rates = torch.exp(-math.log(max_time) * torch.arange(half, device=t.device, dtype=torch.float32) / (half - 1))
    angles = (t.float() * max_time)[..., None] * rates
    return F.pad(torch.cat((angles.sin(), angles.cos()), -1), (0, width % 2))


class CausalConv2d(nn.Module):
    """3 frames x 5 mel bins, causal in time."""

    TAPS = 3

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (self.TAPS, 5), padding=(0, 2))

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        """(B, C, T, mel) with (B, C, 2, mel) before it, to (B, outputs, T, mel)."""
        return self.conv(torch.cat((past, x), 2))
