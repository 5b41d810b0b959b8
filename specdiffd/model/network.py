"""Notes encoder, context encoder and FiLM decoder of Spectrogram Diffusion (arXiv 2206.05408, section 3.3).

With the default configs these are the published networks. The built-in instrument turns on fields that they leave off:
``causal`` (a frame attends to itself and earlier frames, and only to tokens that it can have heard; every frame has its
own diffusion time, so known frames enter clean and their keys and values are kept) and ``stem_channels`` (small causal
2-D convolutions around the transformer, which also see the note prior).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.model.layers import (
    CrossAttention,
    DecoderSelfAttention,
    DenseReluDense,
    FiLM,
    RMSNorm,
    SelfAttention,
    mask_bias,
    modulate,
    sinusoid_positions,
    time_embedding,
)

KeysValues = tuple[Tensor, Tensor]


def check_sizes(config: EncoderConfig | DecoderConfig, tables: tuple[str, ...]) -> None:
    """Refuse sizes that no network has, before anything of that size is made.

    Args:
        tables: the fields that count rows of tables.

    Raises:
        ValueError: naming field and limits.
    """
    limits = {"d_model": 1 << 14, "num_layers": 256, "num_heads": 1 << 10, "d_kv": 1 << 12, "d_ff": 1 << 17, "input_dims": 1 << 12}
    for name, most in {**limits, **dict.fromkeys(tables, 1 << 20)}.items():
        if not 1 <= getattr(config, name) <= most:
            raise ValueError(f"{name} {getattr(config, name)}: expected 1 to {most}")


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of either encoder; field names as in the hub's config.json where it has them."""

    d_model: int = 768
    num_layers: int = 12
    num_heads: int = 12
    d_kv: int = 64
    d_ff: int = 2048
    vocab_size: int = 1536
    max_length: int = 2048
    input_dims: int = 128
    targets_context_length: int = 256
    feed_forward_proj: str = "gated-gelu"
    causal: bool = False
    scaled_attention: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, ("vocab_size", "max_length", "targets_context_length"))
        if self.feed_forward_proj != "gated-gelu":
            raise ValueError(f"feed_forward_proj {self.feed_forward_proj!r}: expected gated-gelu")

    @property
    def attention_scale(self) -> float:
        """Factor on the dot products."""
        return self.d_kv**-0.5 if self.scaled_attention else 1.0


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder; field names as in the hub's config.json where it has them."""

    d_model: int = 768
    num_layers: int = 12
    num_heads: int = 12
    d_kv: int = 64
    d_ff: int = 2048
    input_dims: int = 128
    targets_length: int = 256
    max_decoder_noise_time: float = 20000.0
    causal: bool = False
    scaled_attention: bool = False
    stem_channels: int = 0
    noise_scale: float = 1.0
    film_width: int = 0  # of the time's embedding; 0: four times d_model

    def __post_init__(self) -> None:
        check_sizes(self, ("targets_length",))
        if not 0 <= self.film_width <= 1 << 16:
            raise ValueError(f"film_width {self.film_width}: expected 0 to {1 << 16}")
        if not 1 < self.max_decoder_noise_time < math.inf:
            raise ValueError(f"max_decoder_noise_time {self.max_decoder_noise_time}: expected more than 1")
        if not 0 <= self.stem_channels <= 1024:
            raise ValueError(f"stem_channels {self.stem_channels}: expected 0 to 1024")
        if not 0 < self.noise_scale < math.inf:
            raise ValueError(f"noise_scale {self.noise_scale}: expected more than 0")

    @property
    def attention_scale(self) -> float:
        """Factor on the dot products."""
        return self.d_kv**-0.5 if self.scaled_attention else 1.0

    @property
    def time_width(self) -> int:
        """Width of the time's embedding."""
        return self.film_width or 4 * self.d_model


class EncoderAttention(nn.Module):
    """``layer.0`` of an encoder layer."""

    def __init__(self, c: EncoderConfig) -> None:
        super().__init__()
        self.SelfAttention = SelfAttention(c.d_model, c.num_heads, c.d_kv, c.attention_scale)
        self.layer_norm = RMSNorm(c.d_model)

    def forward(self, x: Tensor, bias: Tensor | None, past: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """(B, T, d) to (B, T, d), and the keys and values, ``past`` included."""
        y, seen = self.SelfAttention(self.layer_norm(x), bias, past)
        return x + y, seen


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
        """(B, T, d) to (B, T, d), and the attention's keys and values, ``past`` included."""
        x, seen = self.layer[0](x, bias, past)
        return self.layer[1](x), seen


def _position_table(length: int, width: int) -> nn.Embedding:
    table = nn.Embedding(length, width)
    table.weight = nn.Parameter(sinusoid_positions(length, width), requires_grad=False)
    return table


class NotesState(NamedTuple):
    """Keys and values of the tokens that a causal notes encoder has seen."""

    layers: tuple[KeysValues, ...]

    @property
    def tokens(self) -> int:
        """How many."""
        return self.layers[0][0].shape[2]

    def first(self, tokens: int) -> NotesState:
        """As it was after ``tokens`` tokens."""
        return NotesState(tuple((k[:, :, :tokens], v[:, :, :tokens]) for k, v in self.layers))


class NotesEncoder(nn.Module):
    """Tokens to encodings."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedder = nn.Embedding(config.vocab_size, config.d_model)
        self.position_encoding = _position_table(config.max_length, config.d_model)
        self.encoders = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_layers))
        self.layer_norm = RMSNorm(config.d_model)

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, N) ids to (B, N, d). ``valid`` (B, N): False for padding; None: there is none."""
        x, _ = self.extend(tokens, valid, self.init_state(len(tokens)))
        return x

    def init_state(self, batch: int = 1) -> NotesState:
        """No tokens yet."""
        none = self.layer_norm.weight.new_zeros(batch, self.config.num_heads, 0, self.config.d_kv)
        return NotesState(((none, none),) * self.config.num_layers)

    def extend(self, tokens: Tensor, valid: Tensor | None, state: NotesState) -> tuple[Tensor, NotesState]:
        """Encode the tokens (B, N) that follow those of ``state``; only a causal encoder may have any there.

        Returns:
            (B, N, d) of the new tokens, and the state with them.
        """
        known, count = state.tokens, tokens.shape[1]
        x = self.token_embedder(tokens) + self.position_encoding.weight[known : known + count]
        mask = None if valid is None else valid[:, None, None]
        if self.config.causal:
            order = torch.ones(count, known + count, dtype=torch.bool, device=tokens.device).tril(known)
            mask = order if mask is None else mask & order
        bias = None if mask is None else mask_bias(mask, x.dtype)
        layers = []
        for layer, past in zip(self.encoders, state.layers, strict=True):
            x, seen = layer(x, bias, past)
            layers.append(seen)
        return self.layer_norm(x), NotesState(tuple(layers))


class ContextEncoder(nn.Module):
    """The previous frames, in the model's range, to encodings."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.input_proj = nn.Linear(config.input_dims, config.d_model, bias=False)
        self.position_encoding = _position_table(config.targets_context_length, config.d_model)
        self.encoders = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_layers))
        self.layer_norm = RMSNorm(config.d_model)

    def forward(self, frames: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, n, mel) to (B, n, d); n <= targets_context_length, the last frame is the one just before the window.

        Positions are terminal-relative: n frames take the last n of them, which is what the training code of the
        published checkpoints does (and diffusers, for n other than 0 and 256, does not).
        """
        x = self.input_proj(frames) + self.position_encoding.weight[self.config.targets_context_length - frames.shape[1] :]
        bias = None if valid is None else mask_bias(valid[:, None, None], x.dtype)
        for layer in self.encoders:
            x, _ = layer(x, bias)
        return self.layer_norm(x)


FilmTables = tuple[Tensor, Tensor]


class Schedule(NamedTuple):
    """FiLM tables of a few diffusion times: they depend on nothing else, so they are made once."""

    layers: tuple[FilmTables, ...]  # per decoder layer, (times, 2, d) each
    stem: Tensor | None  # (times, 2, channels)

    def at(self, place: Tensor) -> Schedule:
        """Spread over frames: ``place`` (B, F) says which of the times each has."""
        stem = None if self.stem is None else self.stem[place]
        return Schedule(tuple((a[place], b[place]) for a, b in self.layers), stem)


class DecoderAttention(nn.Module):
    """``layer.0`` of a decoder layer."""

    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.layer_norm = RMSNorm(c.d_model)
        self.FiLMLayer = FiLM(c.time_width, c.d_model)
        self.attention = DecoderSelfAttention(c.d_model, c.num_heads, c.d_kv, c.attention_scale)

    def forward(self, x: Tensor, film: Tensor, past: KeysValues | None, bias: Tensor | None) -> tuple[Tensor, KeysValues]:
        """(B, T, d) to (B, T, d), and the keys and values, ``past`` included."""
        y, seen = self.attention(modulate(self.layer_norm(x), film), past, bias)
        return x + y, seen


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

    def film_tables(self, time: Tensor) -> FilmTables:
        """Of the embeddings (..., time_width): (..., 2, d) for self-attention and feed-forward."""
        return self.attention.FiLMLayer.table(time), self.dense.film.table(time)

    def forward(
        self, x: Tensor, film: FilmTables, past: KeysValues | None, bias: Tensor | None, notes: KeysValues, notes_bias: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """(B, T, d) to (B, T, d), and the self-attention's keys and values, ``past`` included."""
        x, seen = self.attention(x, film[0], past, bias)
        return self.dense(self.cross(x, notes, notes_bias), film[1]), seen

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


NEVER_VISIBLE = 1 << 30  # stands in Conditioning.visible_from for padding


class Conditioning(NamedTuple):
    """What the decoder attends to besides its own frames; made once per window and kept."""

    layers: tuple[KeysValues, ...]  # per decoder layer
    visible_from: Tensor  # (B, S) the first frame of the window that may look at each encoding

    def first(self, encodings: int) -> Conditioning:
        """Only the first so many of the encodings."""
        layers = tuple((k[:, :, :encodings], v[:, :, :encodings]) for k, v in self.layers)
        return Conditioning(layers, self.visible_from[:, :encodings])

    def followed_by(self, other: Conditioning) -> Conditioning:
        """These encodings, then those of ``other``."""
        layers = tuple((torch.cat((a, c), 2), torch.cat((b, d), 2)) for (a, b), (c, d) in zip(self.layers, other.layers, strict=True))
        return Conditioning(layers, torch.cat((self.visible_from, other.visible_from), 1))


class DecoderState(NamedTuple):
    """The known frames of a window, as the causal decoder keeps them."""

    layers: tuple[KeysValues, ...]
    images: tuple[Tensor, ...]  # what each convolution of stem and head saw of them, and two empty frames before
    frames: int  # how many frames of the window are known

    def first(self, frames: int) -> DecoderState:
        """As it was with only the first ``frames`` known."""
        layers = tuple((k[:, :, :frames], v[:, :, :frames]) for k, v in self.layers)
        return DecoderState(layers, tuple(x[:, :, : CausalConv2d.TAPS - 1 + frames] for x in self.images), frames)


class CausalConv2d(nn.Module):
    """3 frames x 5 mel bins, causal in time."""

    TAPS = 3

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (self.TAPS, 5), padding=(0, 2))

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T, mel) with (B, C, >= 2, mel) before it; returns the output and all that was seen."""
        seen = torch.cat((past, x), 2)
        return self.conv(seen[:, :, seen.shape[2] - x.shape[2] - self.TAPS + 1 :]), seen


class Decoder(nn.Module):
    """Predicts, from noisy frames, the noise (published) or the flow's velocity (built-in)."""

    HEAD_CHANNELS = 8

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = c = config
        d = c.d_model
        w = c.time_width
        self.conditioning_emb = nn.Sequential(nn.Linear(d, w, bias=False), nn.SiLU(), nn.Linear(w, w, bias=False), nn.SiLU())
        self.position_encoding = _position_table(c.targets_length, d)
        if c.stem_channels:
            self.stem = nn.ModuleList([CausalConv2d(3, c.stem_channels), CausalConv2d(c.stem_channels, c.stem_channels)])
            self.stem_film = FiLM(w, c.stem_channels)
            self.head = nn.ModuleList(
                [CausalConv2d(c.stem_channels + self.HEAD_CHANNELS, c.stem_channels), CausalConv2d(c.stem_channels, 1)]
            )
        self.continuous_inputs_projection = nn.Linear(c.input_dims * (c.stem_channels or 1), d, bias=False)
        self.decoders = nn.ModuleList(DecoderLayer(c) for _ in range(c.num_layers))
        self.decoder_norm = RMSNorm(d)
        self.spec_out = nn.Linear(d, c.input_dims * (self.HEAD_CHANNELS if c.stem_channels else 1), bias=False)

    def condition(self, encodings: Tensor, visible_from: Tensor) -> Conditioning:
        """Cross-attention keys and values of the encodings (B, S, d) of notes and context."""
        layers = tuple(cast(DecoderLayer, layer).cross.attention.keys_values(encodings) for layer in self.decoders)
        return Conditioning(layers, visible_from)

    def schedule(self, times: Tensor) -> Schedule:
        """The tables of diffusion times (n,) in [0, 1]."""
        c = self.config
        embedded = self.conditioning_emb(time_embedding(times, c.d_model, c.max_decoder_noise_time).to(self.spec_out.weight.dtype))
        stem = self.stem_film.table(embedded) if c.stem_channels else None
        return Schedule(tuple(cast(DecoderLayer, layer).film_tables(embedded) for layer in self.decoders), stem)

    def forward(self, x: Tensor, films: Schedule, conditioning: Conditioning) -> Tensor:
        """As published: all frames (B, F, mel) at once, one diffusion time (``films`` of one frame)."""
        h = self.continuous_inputs_projection(x.to(self.spec_out.weight.dtype)) + self.position_encoding.weight[: x.shape[1]]
        notes_bias = mask_bias((conditioning.visible_from <= 0)[:, None, None], h.dtype)
        for layer, film, notes in zip(self.decoders, films.layers, conditioning.layers, strict=True):
            h, _ = layer(h, film, None, None, notes, notes_bias)
        return self.spec_out(self.decoder_norm(h)).float()

    def init_state(self, batch: int = 1) -> DecoderState:
        """Nothing known yet."""
        c, like = self.config, self.spec_out.weight
        none = like.new_zeros(batch, c.num_heads, 0, c.d_kv)
        past = CausalConv2d.TAPS - 1
        channels = (3, c.stem_channels, c.stem_channels + self.HEAD_CHANNELS, c.stem_channels)
        images = tuple(like.new_zeros(batch, n, past, c.input_dims) for n in channels)
        return DecoderState(((none, none),) * c.num_layers, images, 0)

    def step(
        self, x: Tensor, prior: Tensor, films: Schedule, conditioning: Conditioning, state: DecoderState, known: int = 0
    ) -> tuple[Tensor, DecoderState]:
        """The frames that follow those of ``state``; with a decoder that is not causal all of a window's frames at once.

        Args:
            x: (B, F, mel) in the model's range: ``known`` clean frames, then noisy ones.
            prior: (B, F, mel) the note prior of the same frames.
            films: of each frame's diffusion time, 0 for the known ones (``Schedule.at``).
            conditioning: of the window.
            state: the frames before; no more than ``targets_length`` frames in all.
            known: how many leading frames become part of the returned state.

        Returns:
            velocities (B, F, mel) in units of ``noise_scale``, and the state with the known frames.
        """
        c, dtype = self.config, self.spec_out.weight.dtype
        image = torch.stack((x, prior, (x - prior) / c.noise_scale), 1).to(dtype)  # (B, 3, F, mel)
        image, seen_input = self.stem[0](image, state.images[0])
        assert films.stem is not None
        factor, shift = films.stem.permute(2, 0, 3, 1)[..., None]  # (B, C, F, 1) each
        image, seen_stem = self.stem[1](F.gelu(torch.addcmul(shift, image, factor)), state.images[1])
        stem = F.gelu(image)
        positions = self.position_encoding.weight[state.frames : state.frames + x.shape[1]]
        h = self.continuous_inputs_projection(stem.transpose(1, 2).flatten(2)) + positions
        own, heard = self._masks(x.shape[1], conditioning, state.frames)
        bias, notes_bias = mask_bias(own, h.dtype), mask_bias(heard, h.dtype)
        layers: list[KeysValues] = []
        for layer, film, past, notes in zip(self.decoders, films.layers, state.layers, conditioning.layers, strict=True):
            h, seen = layer(h, film, past, bias, notes, notes_bias)
            layers.append(seen)
        features = self.spec_out(self.decoder_norm(h)).unflatten(-1, (self.HEAD_CHANNELS, c.input_dims)).transpose(1, 2)
        image, seen_features = self.head[0](torch.cat((stem, features), 1), state.images[2])
        image, seen_head = self.head[1](F.gelu(image), state.images[3])
        images = (seen_input, seen_stem, seen_features, seen_head)
        everything = DecoderState(tuple(layers), images, state.frames + x.shape[1])
        return image.squeeze(1).float(), everything.first(state.frames + known)

    def _masks(self, frames: int, conditioning: Conditioning, known: int) -> tuple[Tensor, Tensor]:
        """Who looks where: own frames (F, known + F), encodings (B, 1, F, S)."""
        device = conditioning.visible_from.device
        rows = torch.arange(known, known + frames, device=device)
        if not self.config.causal:
            rows = torch.full_like(rows, NEVER_VISIBLE - 1)
        own = torch.arange(known + frames, device=device) <= rows[:, None]
        notes = conditioning.visible_from[:, None, :] <= rows[:, None]
        return own, notes[:, None]
