"""Notes encoder and context encoder of Spectrogram Diffusion (arXiv 2206.05408, section 3.3).

With the default config these are the published networks. With ``causal`` a token attends to itself and to earlier tokens only, so keys and
values can be kept for later tokens.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from specdiffd.backends.base import Backend
from specdiffd.backends.eager import EAGER
from specdiffd.base.instrument import finish
from specdiffd.diffusion.caches import Growing, KeysValues, NotesState, layer_of, stack_layers
from specdiffd.diffusion.config import EncoderConfig
from specdiffd.diffusion.layers import DenseReluDense, RMSNorm, SelfAttention, joined_bias, mask_bias, position_table


class EncoderAttention(nn.Module):
    """``layer.0`` of an encoder layer."""

    def __init__(self, c: EncoderConfig) -> None:
        super().__init__()
        self.SelfAttention = SelfAttention(c.d_model, c.num_heads, c.d_kv, c.attention_scale)
        self.layer_norm = RMSNorm(c.d_model)

    def forward(self, x: Tensor, bias: Tensor | None, past: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """(B, T, d) to (B, T, d), and the new keys and values."""
        y, new = self.SelfAttention(self.layer_norm(x), bias, past)
        return x + y, new


class EncoderDense(nn.Module):
    """``layer.1`` of an encoder layer."""

    def __init__(self, c: EncoderConfig) -> None:
        super().__init__()
        self.DenseReluDense = DenseReluDense(c.d_model, c.d_ff)
        self.layer_norm = RMSNorm(c.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) to (B, T, d)."""
        return x + self.DenseReluDense(self.layer_norm(x))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with its norm before it; named as in the hub layout."""

    def __init__(self, c: EncoderConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([EncoderAttention(c), EncoderDense(c)])

    def forward(self, x: Tensor, bias: Tensor | None, past: KeysValues | None = None) -> tuple[Tensor, KeysValues]:
        """(B, T, d) to (B, T, d), and the attention's new keys and values."""
        x, new = self.layer[0](x, bias, past)
        return self.layer[1](x), new

    def hidden(self, x: Tensor, bias: Tensor) -> tuple[Tensor]:
        """A kernel: (B, T, d) to (B, T, d), with no tokens before; ``bias`` (B, 1, 1, T)."""
        return (self(x, bias)[0],)


class NotesEncoder(nn.Module):
    """Tokens to encodings.

    Args:
        config: sizes.
        backend: runs :meth:`extend`.
    """

    def __init__(self, config: EncoderConfig, backend: Backend = EAGER) -> None:
        super().__init__()
        self.config, self.backend = config, backend
        self.token_embedder = nn.Embedding(config.vocab_size, config.d_model)
        self.position_encoding = position_table(config.max_length, config.d_model)
        self.encoders = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_layers))
        self.layer_norm = RMSNorm(config.d_model)

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """All tokens of a window at once, by PyTorch.

        Args:
            tokens: (B, N) ids.
            valid: (B, N), False for padding; None: there is no padding.

        Returns:
            encodings (B, N, d).
        """
        x, count = self._embedded(tokens, 0), tokens.shape[1]
        mask = None if valid is None else valid[:, None, None]
        if self.config.causal:
            order = torch.ones(count, count, dtype=torch.bool, device=tokens.device).tril()
            mask = order if mask is None else mask & order
        bias = None if mask is None else mask_bias(mask, x.dtype)
        return self._encoded(x, self.init_state(len(tokens)).keys_values.tensor, bias)[0]

    def init_state(self, batch: int = 1) -> NotesState:
        """No tokens yet."""
        c = self.config
        return NotesState(Growing(self.layer_norm.weight.new_zeros(2 * c.num_layers, batch, c.num_heads, 0, c.d_kv)))

    def extend(self, tokens: Tensor, state: NotesState) -> tuple[Tensor, NotesState]:
        """Encode the tokens (B, N) that follow those of ``state``; the encoder must be causal.

        Returns:
            encodings (B, N, d) of the new tokens, valid until the next call, and the state with these tokens.
        """
        known, count = state.tokens, tokens.shape[1]
        x = self._embedded(tokens, known)
        order = torch.ones(count, count, dtype=torch.bool, device=tokens.device).tril()
        past_bias, bias = x.new_zeros(1, known), mask_bias(order, x.dtype)
        encoded, new = self.backend.run(NotesEncoder.encode, self, x, state.keys_values.tensor, past_bias, bias)
        return encoded, NotesState(state.keys_values.followed_by(new))

    def encode(self, x: Tensor, past: Tensor, past_bias: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A kernel: tokens after those of ``past``.

        Args:
            x: (B, N, d) embedded tokens.
            past: (2 layers, B, heads, S, d) keys and values of the earlier tokens.
            past_bias, bias: (1, S) and (N, N), added to the attention's scores.

        Returns:
            encodings (B, N, d), and the tokens' keys and values (2 layers, B, heads, N, d).
        """
        return self._encoded(x, past, joined_bias(past_bias, bias))

    def _embedded(self, tokens: Tensor, first: int) -> Tensor:
        """Ids (B, N) to (B, N, d), at positions ``first`` and on."""
        return self.token_embedder(tokens) + self.position_encoding.weight[first : first + tokens.shape[1]]

    def _encoded(self, x: Tensor, past: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, N, d) through all layers, and the layers' new keys and values."""
        layers = []
        for k, layer in enumerate(self.encoders):
            x, new = layer(x, bias, layer_of(past, k))
            layers.append(new)
        return self.layer_norm(x), stack_layers(layers)


class ContextEncoder(nn.Module):
    """The frames before a window, in the model's range, to encodings.

    Args:
        config: sizes.
        backend: runs the layers.
    """

    def __init__(self, config: EncoderConfig, backend: Backend = EAGER) -> None:
        super().__init__()
        self.config, self.backend = config, backend
        self.input_proj = nn.Linear(config.input_dims, config.d_model, bias=False)
        self.position_encoding = position_table(config.targets_context_length, config.d_model)
        self.encoders = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_layers))
        self.layer_norm = RMSNorm(config.d_model)

    def forward(self, frames: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, n, mel) to (B, n, d); n <= targets_context_length, the last frame is the one just before the window.

        Positions count from the end: n frames take the last n positions, as in the training code of the published checkpoints. diffusers
        differs unless n is 0 or 256.

        Args:
            frames: in the model's range.
            valid: (B, n), False for padding; None: there is no padding.
        """
        return finish(self.encode(frames, valid))

    def encode(self, frames: Tensor, valid: Tensor | None = None) -> Generator[None, None, Tensor]:
        """:meth:`forward` in stages of one layer."""
        x = self.input_proj(frames) + self.position_encoding.weight[self.config.targets_context_length - frames.shape[1] :]
        if valid is None:
            valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        bias = mask_bias(valid[:, None, None], x.dtype)
        for layer in self.encoders:
            (x,) = self.backend.run(EncoderLayer.hidden, layer, x, bias)
            yield
        return self.layer_norm(x)
