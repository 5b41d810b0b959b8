"""FiLM decoder of Spectrogram Diffusion (arXiv 2206.05408, section 3.3).

With the default config this is the published network. The built-in instrument sets two fields. With ``causal`` a frame attends to itself
and earlier frames, and to tokens whose events it contains or follows, so keys and values can be kept for later frames. ``stem_channels``
adds small causal 2-D convolutions around the transformer, which also read the note prior.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.backends.base import Backend
from specdiffd.backends.eager import EAGER
from specdiffd.base.instrument import finish
from specdiffd.diffusion.caches import NEVER_VISIBLE, Conditioning, DecoderState, Growing, KeysValues, layer_of, stack_layers
from specdiffd.diffusion.config import DecoderConfig
from specdiffd.diffusion.decoder_layers import DecoderLayer
from specdiffd.diffusion.layers import CausalConv2d, FiLM, RMSNorm, joined_bias, mask_bias, position_table, time_embedding


class Schedule(NamedTuple):
    """FiLM tables of a few diffusion times. They depend on the time alone, so they are made once."""

    layers: Tensor  # (times, 2 layers, 2, d): for each layer those of self-attention and of feed-forward
    stem: Tensor | None  # (times, 2, channels)

    def at(self, place: Tensor) -> Schedule:
        """The tables for frames whose diffusion times have the indices ``place`` (B, F)."""
        return Schedule(self.layers[place], None if self.stem is None else self.stem[place])


class Decoder(nn.Module):
    """Predicts, from noisy frames, the noise (published) or the flow's velocity (built-in).

    Args:
        config: sizes.
        backend: runs :meth:`step` and :meth:`condition`.
    """

    HEAD_CHANNELS = 8  # that the transformer adds to the stem's; checkpoints have weights for these

    def __init__(self, config: DecoderConfig, backend: Backend = EAGER) -> None:
        super().__init__()
        self.config, self.backend = config, backend
        c, d, w = config, config.d_model, config.time_width
        self.conditioning_emb = nn.Sequential(nn.Linear(d, w, bias=False), nn.SiLU(), nn.Linear(w, w, bias=False), nn.SiLU())
        self.position_encoding = position_table(c.targets_length, d)
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
        """Cross-attention keys and values of the encodings of notes and context.

        Args:
            encodings: (B, S, d).
            visible_from: (B, S) the first frame of the window that may attend to each encoding.
        """
        (keys_values,) = self.backend.run(Decoder.cross_keys_values, self, encodings)
        return Conditioning(Growing(keys_values.clone()), visible_from)  # the next run may overwrite the result

    def cross_keys_values(self, encodings: Tensor) -> tuple[Tensor]:
        """A kernel: (B, S, d) to (2 layers, B, heads, S, d)."""
        return (stack_layers([cast(DecoderLayer, layer).cross.attention.keys_values(encodings) for layer in self.decoders]),)

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
        """No frames yet."""
        c, like = self.config, self.spec_out.weight
        none = like.new_zeros(2 * c.num_layers, batch, c.num_heads, 0, c.d_kv)
        past = CausalConv2d.TAPS - 1
        images = tuple(Growing(like.new_zeros(1, batch, n, past, c.input_dims)) for n in self.image_channels)
        return DecoderState(Growing(none), images)

    @property
    def image_channels(self) -> tuple[int, ...]:
        """Channels that each convolution reads: two of the stem, two of the head."""
        channels = self.config.stem_channels
        return 3, channels, channels + self.HEAD_CHANNELS, channels

    def step(
        self, x: Tensor, prior: Tensor, films: Schedule, conditioning: Conditioning, state: DecoderState
    ) -> tuple[Tensor, DecoderState]:
        """Velocities of the frames that follow those of ``state``; a decoder that is not causal takes all of a window's frames at once.

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
        """:meth:`step` in two stages. It may be abandoned between them, but not resumed after another step has begun."""
        assert films.stem is not None
        dtype, n, batch, frames = self.spec_out.weight.dtype, 2 * self.lower_layers, len(x), x.shape[1]
        layer_films = films.layers.expand(batch, frames, *films.layers.shape[2:])
        stem_films = films.stem.expand(batch, frames, *films.stem.shape[2:])
        positions = self.position_encoding.weight[state.frames : state.frames + frames]
        past, notes = state.keys_values.tensor, conditioning.keys_values.tensor
        biases = self._biases(frames, conditioning, state.frames)
        before = [image.tensor[0, :, :, 1 - CausalConv2d.TAPS :] for image in state.images]
        lower = layer_films[:, :, :n], past[:n], notes[:n], *biases, x.to(dtype), prior.to(dtype), stem_films, positions, *before[:2]
        h, lower_new, *images, stem = self.backend.run(Decoder.lower, self, *lower)
        yield
        upper = layer_films[:, :, n:], past[n:], notes[n:], *biases, h, stem, *before[2:]
        velocity, upper_new, *more = self.backend.run(Decoder.upper, self, *upper)
        return velocity.float(), state.followed_by(torch.cat((lower_new, upper_new)), (*images, *more))

    def lower(
        self,
        films: Tensor,
        past: Tensor,
        notes: Tensor,
        past_bias: Tensor,
        bias: Tensor,
        notes_bias: Tensor,
        x: Tensor,
        prior: Tensor,
        stem_films: Tensor,
        positions: Tensor,
        *before: Tensor,
    ) -> tuple[Tensor, ...]:
        """A kernel, the first half of a step: the stem and the lower layers.

        Args:
            films, stem_films: (B, F, 2 layers, 2, d) and (B, F, 2, C).
            past, notes: (2 layers, B, heads, S, d) keys and values of earlier frames and of the encodings.
            past_bias, bias, notes_bias: (1, past), (F, F) and (B, 1, F, S), added to the attention's scores.
            x, prior: (B, F, mel).
            positions: (F, d).
            before: (B, C, 2, mel) last input frames of each convolution.

        Returns:
            hidden (B, F, d), the frames' keys and values, inputs of each convolution (B, C, F, mel), and the stem's features.
        """
        first = torch.stack((x, prior, (x - prior) / self.config.noise_scale), 1)  # (B, 3, F, mel)
        factor, shift = stem_films.permute(2, 0, 3, 1)[..., None]  # (B, C, F, 1) each
        second = F.gelu(torch.addcmul(shift, self.stem[0](first, before[0]), factor))
        stem = F.gelu(self.stem[1](second, before[1]))
        h = self.continuous_inputs_projection(stem.transpose(1, 2).flatten(2)) + positions
        h, new = _through(self.decoders[: self.lower_layers], h, films, past, notes, joined_bias(past_bias, bias), notes_bias)
        return h, new, first, second, stem

    def upper(
        self,
        films: Tensor,
        past: Tensor,
        notes: Tensor,
        past_bias: Tensor,
        bias: Tensor,
        notes_bias: Tensor,
        h: Tensor,
        stem: Tensor,
        *before: Tensor,
    ) -> tuple[Tensor, ...]:
        """A kernel, the second half of a step: the upper layers and the head.

        Args:
            films, past, notes, past_bias, bias, notes_bias, before: as those of :meth:`lower`.
            h, stem: (B, F, d) and (B, C, F, mel), hidden and features from :meth:`lower`.

        Returns:
            velocities (B, F, mel), the frames' keys and values, and inputs of each convolution (B, C, F, mel).
        """
        h, new = _through(self.decoders[self.lower_layers :], h, films, past, notes, joined_bias(past_bias, bias), notes_bias)
        features = self.spec_out(self.decoder_norm(h)).unflatten(-1, (self.HEAD_CHANNELS, self.config.input_dims)).transpose(1, 2)
        third = torch.cat((stem, features), 1)
        fourth = F.gelu(self.head[0](third, before[0]))
        return self.head[1](fourth, before[1]).squeeze(1), new, third, fourth

    def _biases(self, frames: int, conditioning: Conditioning, known: int) -> tuple[Tensor, Tensor, Tensor]:
        """Attention biases of F frames after ``known`` ones: to those (1, known), to each other (F, F), to encodings (B, 1, F, S)."""
        dtype, device = self.spec_out.weight.dtype, conditioning.visible_from.device
        columns = torch.arange(known, known + frames, device=device)
        rows = columns if self.config.causal else torch.full_like(columns, NEVER_VISIBLE - 1)
        notes = conditioning.visible_from[:, None, :] <= rows[:, None]
        past = torch.zeros(1, known, dtype=dtype, device=device)
        return past, mask_bias(columns <= rows[:, None], dtype), mask_bias(notes[:, None], dtype)


def _through(
    layers: Iterable[nn.Module], h: Tensor, films: Tensor, past: Tensor, notes: Tensor, bias: Tensor, notes_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Hidden (B, F, d) after the layers, and their new keys and values (2 layers, B, heads, F, d)."""
    new: list[KeysValues] = []
    for k, layer in enumerate(layers):
        h, added = layer(h, films[:, :, 2 * k : 2 * k + 2], layer_of(past, k), bias, layer_of(notes, k), notes_bias)
        new.append(added)
    return h, stack_layers(new)
