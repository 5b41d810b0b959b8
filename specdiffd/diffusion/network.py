"""Notes encoder, context encoder and FiLM decoder of Spectrogram Diffusion (arXiv 2206.05408, section 3.3).

With the default configs these are the published networks. The built-in instrument turns on fields that they leave off:
``causal`` (a frame attends to itself and earlier frames, and only to tokens that it can have heard; so keys and values
are kept for the frames that follow) and ``stem_channels`` (small causal 2-D convolutions around the transformer, which
also see the note prior).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.backends.openvino import Function, Graph, Input
from specdiffd.base.instrument import finish
from specdiffd.diffusion.layers import (
    NOWHERE,
    CrossAttention,
    DecoderSelfAttention,
    DenseReluDense,
    FiLM,
    Growing,
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
        if self.stem_channels and self.num_layers < 2:
            raise ValueError(f"num_layers {self.num_layers}: expected 2 or more with stem_channels, a step has two halves")
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


def _position_table(length: int, width: int) -> nn.Embedding:
    table = nn.Embedding(length, width)
    table.weight = nn.Parameter(sinusoid_positions(length, width), requires_grad=False)
    return table


def layer_of(stacked: Tensor, layer: int) -> KeysValues:
    """Keys and values (B, heads, S, d) of one layer, out of those of all (2 layers, B, heads, S, d)."""
    return stacked[2 * layer], stacked[2 * layer + 1]


def stack_layers(layers: Sequence[KeysValues]) -> Tensor:
    """(2 layers, B, heads, S, d): one tensor is cut, joined and handed on with one operation."""
    return torch.stack([x for pair in layers for x in pair])


class NotesState(NamedTuple):
    """The tokens that a causal notes encoder has seen."""

    keys_values: Growing

    @property
    def tokens(self) -> int:
        """How many."""
        return self.keys_values.count

    def first(self, tokens: int) -> NotesState:
        """As it was after ``tokens`` tokens."""
        return NotesState(self.keys_values.first(tokens))


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
        c = self.config
        return NotesState(Growing(self.layer_norm.weight.new_zeros(2 * c.num_layers, batch, c.num_heads, 0, c.d_kv)))

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
        encoded, new = self.encode(x, state.keys_values.tensor, bias)
        return encoded, NotesState(state.keys_values.followed_by(new))

    def use_graph(self, threads: int, parts: int) -> list[Graph]:
        """Run :meth:`encode` as a graph from now on, for a batch of ``parts``; the encoder must be causal."""
        c = self.config
        x, past = torch.zeros(parts, 16, c.d_model), torch.zeros(2 * c.num_layers, parts, c.num_heads, 32, c.d_kv)

        def encode(encoder: NotesEncoder, x: Tensor, past: Tensor, past_bias: Tensor, own_bias: Tensor) -> tuple[Tensor, Tensor]:
            return NotesEncoder.encode(encoder, x, past, torch.cat((past_bias.expand(x.shape[1], -1), own_bias), 1))

        inputs = (
            Input({1: "N"}),
            Input({3: "past"}, masked=True),
            Input({1: "past"}, NOWHERE),
            Input({0: "N", 1: "N"}, NOWHERE),
        )
        graph = Graph(
            self,
            self.layer_norm.weight.dtype,
            encode,
            (x, past, torch.zeros(1, 32), torch.zeros(16, 16)),
            inputs,
            ({1: "N"}, {3: "N"}),
            {"N": (16, 48), "past": 256},
            threads,
        )

        def run(x: Tensor, past: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
            known = past.shape[3]
            return graph(x, past, bias[:1, :known], bias[:, known:])

        setattr(self, "encode", run)  # noqa: B010
        return [graph]

    def encode(self, x: Tensor, past: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embedded tokens (B, N, d) after those of ``past``: encodings (B, N, d), and the layers' new keys and values."""
        layers = []
        for k, layer in enumerate(self.encoders):
            x, new = layer(x, bias, layer_of(past, k))
            layers.append(new)
        return self.layer_norm(x), stack_layers(layers)


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
        return finish(self.encode(frames, valid))

    def encode(self, frames: Tensor, valid: Tensor | None = None) -> Generator[None, None, Tensor]:
        """:meth:`forward`, a layer at a time."""
        x = self.input_proj(frames) + self.position_encoding.weight[self.config.targets_context_length - frames.shape[1] :]
        if valid is None:
            valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        bias = mask_bias(valid[:, None, None], x.dtype)
        for k in range(self.config.num_layers):
            x = self.through(k, x, bias)
            yield
        return self.layer_norm(x)

    def use_graph(self, threads: int, parts: int) -> list[Graph]:
        """Run :meth:`through` as graphs from now on, for a batch of ``parts``."""
        graphs = [
            Graph(
                self,
                self.layer_norm.weight.dtype,
                lambda encoder, x, bias, k=k: (ContextEncoder.through(encoder, k, x, bias),),
                (torch.zeros(parts, 64, self.config.d_model), torch.zeros(parts, 1, 1, 64)),
                (Input({1: "N"}), Input({3: "N"}, NOWHERE)),
                ({1: "N"},),
                {"N": (64, self.config.targets_context_length)},
                threads,
            )
            for k in range(self.config.num_layers)
        ]
        setattr(self, "through", lambda k, x, bias: graphs[k](x, bias)[0])  # noqa: B010
        return graphs

    def through(self, layer: int, x: Tensor, bias: Tensor) -> Tensor:
        """Hidden (B, n, d) behind a layer."""
        return cast(Tensor, self.encoders[layer](x, bias)[0])


class Schedule(NamedTuple):
    """FiLM tables of a few diffusion times: they depend on nothing else, so they are made once."""

    layers: Tensor  # (times, 2 layers, 2, d): of each layer the self-attention's and the feed-forward's
    stem: Tensor | None  # (times, 2, channels)

    def at(self, place: Tensor) -> Schedule:
        """Spread over frames: ``place`` (B, F) says which of the times each has."""
        return Schedule(self.layers[place], None if self.stem is None else self.stem[place])


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


NEVER_VISIBLE = 1 << 30  # stands in Conditioning.visible_from for padding


class Conditioning(NamedTuple):
    """What the decoder attends to besides its own frames; made once per window and kept."""

    keys_values: Growing
    visible_from: Tensor  # (B, S) the first frame of the window that may look at each encoding

    def first(self, encodings: int) -> Conditioning:
        """Only the first so many of the encodings."""
        return Conditioning(self.keys_values.first(encodings), self.visible_from[:, :encodings])

    def followed_by(self, other: Conditioning) -> Conditioning:
        """These encodings, then those of ``other``."""
        together = torch.cat((self.visible_from, other.visible_from), 1)
        return Conditioning(self.keys_values.followed_by(other.keys_values.tensor), together)


class DecoderState(NamedTuple):
    """Frames of a window that others follow, as the causal decoder keeps them."""

    keys_values: Growing
    images: tuple[Growing, ...]  # (1, B, C, 2 + frames, mel) what each convolution saw of them, and two empty frames before

    @property
    def frames(self) -> int:
        """How many frames of the window there are."""
        return self.keys_values.count

    def first(self, frames: int) -> DecoderState:
        """As it was with only the first ``frames``."""
        return DecoderState(self.keys_values.first(frames), tuple(x.first(CausalConv2d.TAPS - 1 + frames) for x in self.images))

    def followed_by(self, keys_values: Tensor, images: Sequence[Tensor]) -> DecoderState:
        """With what the decoder made of the next frames: keys and values, and (B, C, frames, mel) of each convolution."""
        together = tuple(old.followed_by(new[None]) for old, new in zip(self.images, images, strict=True))
        return DecoderState(self.keys_values.followed_by(keys_values), together)


class CausalConv2d(nn.Module):
    """3 frames x 5 mel bins, causal in time."""

    TAPS = 3

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (self.TAPS, 5), padding=(0, 2))

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        """(B, C, T, mel) with (B, C, 2, mel) before it."""
        return self.conv(torch.cat((past, x), 2))


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
        self.lower_layers = (c.num_layers + 1) // 2  # of the first half of a step

    def condition(self, encodings: Tensor, visible_from: Tensor) -> Conditioning:
        """Cross-attention keys and values of the encodings (B, S, d) of notes and context."""
        return Conditioning(Growing(self.cross_keys_values(encodings)), visible_from)

    def cross_keys_values(self, encodings: Tensor) -> Tensor:
        """(B, S, d) to (2 layers, B, heads, S, d)."""
        return stack_layers([cast(DecoderLayer, layer).cross.attention.keys_values(encodings) for layer in self.decoders])

    def schedule(self, times: Tensor) -> Schedule:
        """The tables of diffusion times (n,) in [0, 1]."""
        c = self.config
        embedded = self.conditioning_emb(time_embedding(times, c.d_model, c.max_decoder_noise_time).to(self.spec_out.weight.dtype))
        stem = self.stem_film.table(embedded) if c.stem_channels else None
        tables = [table for layer in self.decoders for table in cast(DecoderLayer, layer).film_tables(embedded)]
        return Schedule(torch.stack(tables, 1), stem)

    def forward(self, x: Tensor, films: Schedule, conditioning: Conditioning) -> Tensor:
        """As published: all frames (B, F, mel) at once, one diffusion time (``films`` of one frame)."""
        h = self.continuous_inputs_projection(x.to(self.spec_out.weight.dtype)) + self.position_encoding.weight[: x.shape[1]]
        notes_bias = mask_bias((conditioning.visible_from <= 0)[:, None, None], h.dtype)
        for k, layer in enumerate(self.decoders):
            notes = layer_of(conditioning.keys_values.tensor, k)
            h, _ = layer(h, films.layers[:, :, 2 * k : 2 * k + 2], None, None, notes, notes_bias)
        return self.spec_out(self.decoder_norm(h)).float()

    def init_state(self, batch: int = 1) -> DecoderState:
        """Nothing known yet."""
        c, like = self.config, self.spec_out.weight
        none = like.new_zeros(2 * c.num_layers, batch, c.num_heads, 0, c.d_kv)
        past = CausalConv2d.TAPS - 1
        channels = (3, c.stem_channels, c.stem_channels + self.HEAD_CHANNELS, c.stem_channels)
        images = tuple(Growing(like.new_zeros(1, batch, n, past, c.input_dims)) for n in channels)
        return DecoderState(Growing(none), images)

    def step(
        self, x: Tensor, prior: Tensor, films: Schedule, conditioning: Conditioning, state: DecoderState
    ) -> tuple[Tensor, DecoderState]:
        """The frames that follow those of ``state``; with a decoder that is not causal all of a window's frames at once.

        Args:
            x: (B, F, mel) in the model's range.
            prior: (B, F, mel) the note prior of the same frames.
            films: of each frame's diffusion time (``Schedule.at``).
            conditioning: of the window.
            state: the frames before; no more than ``targets_length`` frames in all.

        Returns:
            velocities (B, F, mel) in units of ``noise_scale``, and the state with these frames.
        """
        return finish(self.step_in_halves(x, prior, films, conditioning, state))

    def step_in_halves(
        self, x: Tensor, prior: Tensor, films: Schedule, conditioning: Conditioning, state: DecoderState
    ) -> Generator[None, None, tuple[Tensor, DecoderState]]:
        """A :meth:`step` that may be stopped half way, or go on before another begins."""
        dtype, frames, past = self.spec_out.weight.dtype, x.shape[1], CausalConv2d.TAPS - 1
        own, heard = self._masks(frames, conditioning, state.frames)
        assert films.stem is not None
        n, each = 2 * self.lower_layers, x.shape[:2]
        by_layer = films.layers.expand(*each, *films.layers.shape[2:])
        past_kv, notes = state.keys_values.tensor, conditioning.keys_values.tensor
        bias, notes_bias = mask_bias(own, dtype), mask_bias(heard, dtype)
        seen = [image.tensor[0, :, :, -past:] for image in state.images]
        h, lower, *images, stem = self.lower(
            by_layer[:, :, :n],
            past_kv[:n],
            notes[:n],
            bias,
            notes_bias,
            x.to(dtype),
            prior.to(dtype),
            films.stem.expand(*each, *films.stem.shape[2:]),
            self.position_encoding.weight[state.frames : state.frames + frames],
            *seen[:2],
        )
        yield
        velocity, upper, *more = self.upper(by_layer[:, :, n:], past_kv[n:], notes[n:], bias, notes_bias, h, stem, *seen[2:])
        return velocity.float(), state.followed_by(torch.cat((lower, upper)), (*images, *more))

    def use_graph(self, threads: int, parts: int) -> list[Graph]:
        """Run :meth:`lower`, :meth:`upper` and :meth:`cross_keys_values` as graphs from now on, for a batch of ``parts``; the decoder must be causal."""
        c, frames = self.config, 8
        of_frames, of_images = Input({1: "F"}), [Input({})] * 2
        mel = torch.zeros(parts, frames, c.input_dims)
        images = [image.tensor[0].float() for image in self.init_state(parts).images]
        lower = self._half_graph(
            Decoder.lower,
            self.lower_layers,
            (mel, mel, torch.zeros(parts, frames, 2, c.stem_channels), torch.zeros(frames, c.d_model), *images[:2]),
            (*[of_frames] * 3, Input({0: "F"}), *of_images),
            ({1: "F"}, {3: "F"}, *[{2: "F"}] * 3),
            threads,
        )
        upper = self._half_graph(
            Decoder.upper,
            c.num_layers - self.lower_layers,
            (torch.zeros(parts, frames, c.d_model), torch.zeros(parts, c.stem_channels, frames, c.input_dims), *images[2:]),
            (of_frames, Input({2: "F"}), *of_images),
            ({1: "F"}, {3: "F"}, *[{2: "F"}] * 2),
            threads,
        )
        cross = Graph(
            self,
            self.spec_out.weight.dtype,
            lambda decoder, x: (Decoder.cross_keys_values(decoder, x),),
            (torch.zeros(parts, 16, c.d_model),),
            (Input({1: "N"}),),
            ({3: "N"},),
            {"N": (16, 48, c.targets_length)},  # notes come some at a time, as context a window at most
            threads,
        )
        setattr(self, "cross_keys_values", lambda x: cross(x)[0].clone())  # noqa: B010
        return [lower, upper, cross]

    def _half_graph(
        self,
        half: Function,
        layers: int,
        example: Sequence[Tensor],
        inputs: Sequence[Input],
        outputs: Sequence[Mapping[int, str]],
        threads: int,
    ) -> Graph:
        """Run one half of a step as a graph; ``example``, ``inputs``: of what it takes besides its layers' tensors."""
        c, frames, known, encodings = self.config, 8, 32, 64
        parts = len(example[0])

        def compute(decoder: Decoder, *arguments: Tensor) -> tuple[Tensor, ...]:
            past_bias, own_bias = arguments[3:5]  # sizes are taken from shapes: the tracer makes a constant of a len()
            bias = torch.cat((past_bias.expand(own_bias.shape[0], -1), own_bias), 1)
            return half(decoder, *arguments[:3], bias, *arguments[5:])

        graph = Graph(
            self,
            self.spec_out.weight.dtype,
            compute,
            (
                torch.zeros(parts, frames, 2 * layers, 2, c.d_model),
                torch.zeros(2 * layers, parts, c.num_heads, known, c.d_kv),
                torch.zeros(2 * layers, parts, c.num_heads, encodings, c.d_kv),
                torch.zeros(1, known),
                torch.zeros(frames, frames),
                torch.zeros(parts, 1, frames, encodings),
                *example,
            ),
            (
                Input({1: "F"}),
                Input({3: "K"}, masked=True),
                Input({3: "S"}, masked=True),
                Input({1: "K"}, NOWHERE),
                Input({0: "F", 1: "F"}, NOWHERE),
                Input({2: "F", 3: "S"}, NOWHERE),
                *inputs,
            ),
            outputs,
            {"F": (10, 14, 64), "K": (c.targets_length,), "S": 256},
            threads,
        )

        def run(films: Tensor, past: Tensor, notes: Tensor, bias: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            known = past.shape[3]
            return graph(films, past, notes, bias[:1, :known], bias[:, known:], *rest)

        setattr(self, half.__name__, run)
        return graph

    def lower(
        self,
        films: Tensor,
        past: Tensor,
        notes: Tensor,
        bias: Tensor,
        notes_bias: Tensor,
        x: Tensor,
        prior: Tensor,
        stem_films: Tensor,
        positions: Tensor,
        *images: Tensor,
    ) -> tuple[Tensor, ...]:
        """The first half of what :meth:`step` computes, as a function of tensors alone: the stem and the lower layers.

        Args:
            films, stem_films: (B, F, 2 layers, 2, d) and (B, F, 2, C).
            past, notes: (2 layers, B, heads, S, d) keys and values of earlier frames and of the encodings.
            bias, notes_bias: (F, past + F) and (B, 1, F, S).
            x, prior: (B, F, mel).
            positions: (F, d).
            images: (B, C, 2, mel) what each convolution saw last.

        Returns:
            hidden (B, F, d), the frames' keys and values, what each convolution saw (B, C, F, mel), and the stem's features.
        """
        first = torch.stack((x, prior, (x - prior) / self.config.noise_scale), 1)  # (B, 3, F, mel)
        factor, shift = stem_films.permute(2, 0, 3, 1)[..., None]  # (B, C, F, 1) each
        second = F.gelu(torch.addcmul(shift, self.stem[0](first, images[0]), factor))
        stem = F.gelu(self.stem[1](second, images[1]))
        h = self.continuous_inputs_projection(stem.transpose(1, 2).flatten(2)) + positions
        h, new = self._through(self.decoders[: self.lower_layers], h, films, past, notes, bias, notes_bias)
        return h, new, first, second, stem

    def upper(
        self, films: Tensor, past: Tensor, notes: Tensor, bias: Tensor, notes_bias: Tensor, h: Tensor, stem: Tensor, *images: Tensor
    ) -> tuple[Tensor, ...]:
        """The second half, likewise: the upper layers and the head.

        Returns:
            velocities (B, F, mel), the frames' keys and values, and what each convolution saw (B, C, F, mel).
        """
        h, new = self._through(self.decoders[self.lower_layers :], h, films, past, notes, bias, notes_bias)
        features = self.spec_out(self.decoder_norm(h)).unflatten(-1, (self.HEAD_CHANNELS, self.config.input_dims)).transpose(1, 2)
        third = torch.cat((stem, features), 1)
        fourth = F.gelu(self.head[0](third, images[0]))
        return self.head[1](fourth, images[1]).squeeze(1), new, third, fourth

    @staticmethod
    def _through(
        layers: Iterable[nn.Module], h: Tensor, films: Tensor, past: Tensor, notes: Tensor, bias: Tensor, notes_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hidden (B, F, d) behind the layers, and their new keys and values."""
        new: list[KeysValues] = []
        for k, layer in enumerate(layers):
            h, own = layer(h, films[:, :, 2 * k : 2 * k + 2], layer_of(past, k), bias, layer_of(notes, k), notes_bias)
            new.append(own)
        return h, stack_layers(new)

    def _masks(self, frames: int, conditioning: Conditioning, known: int) -> tuple[Tensor, Tensor]:
        """Who looks where: own frames (F, known + F), encodings (B, 1, F, S)."""
        device = conditioning.visible_from.device
        rows = torch.arange(known, known + frames, device=device)
        if not self.config.causal:
            rows = torch.full_like(rows, NEVER_VISIBLE - 1)
        own = torch.arange(known + frames, device=device) <= rows[:, None]
        notes = conditioning.visible_from[:, None, :] <= rows[:, None]
        return own, notes[:, None]
