"""Sizes of the encoders and the decoder, checked; field names as in the hub's config.json where it has them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes that encoders and decoder have in common."""

    d_model: int = 768
    num_layers: int = 12
    num_heads: int = 12
    d_kv: int = 64
    d_ff: int = 2048
    input_dims: int = 128
    causal: bool = False
    scaled_attention: bool = False

    def check_sizes(self, tables: tuple[str, ...]) -> None:
        """Refuse sizes that no network has, before anything of that size is made.

        Args:
            tables: the fields that count rows of tables.

        Raises:
            ValueError: naming field and limits.
        """
        limits = {"d_model": 1 << 14, "num_layers": 256, "num_heads": 1 << 10, "d_kv": 1 << 12, "d_ff": 1 << 17, "input_dims": 1 << 12}
        for name, most in {**limits, **dict.fromkeys(tables, 1 << 20)}.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 to {most}")

    @property
    def attention_scale(self) -> float:
        """Factor on the dot products."""
        return self.d_kv**-0.5 if self.scaled_attention else 1.0


@dataclass(frozen=True)
class EncoderConfig(TransformerConfig):
    """Sizes of either encoder; field names as in the hub's config.json where it has them.

    Raises:
        ValueError: a size that no network has, or another kind of feed-forward layer.
    """

    vocab_size: int = 1536
    max_length: int = 2048
    targets_context_length: int = 256
    feed_forward_proj: str = "gated-gelu"

    def __post_init__(self) -> None:
        self.check_sizes(("vocab_size", "max_length", "targets_context_length"))
        if self.feed_forward_proj != "gated-gelu":
            raise ValueError(f"feed_forward_proj {self.feed_forward_proj!r}: expected gated-gelu")


@dataclass(frozen=True)
class DecoderConfig(TransformerConfig):
    """Sizes of the decoder; field names as in the hub's config.json where it has them.

    Raises:
        ValueError: a size that no network has.
    """

    targets_length: int = 256
    max_decoder_noise_time: float = 20000.0
    stem_channels: int = 0
    noise_scale: float = 1.0
    film_width: int = 0  # of the time's embedding; 0: four times d_model

    def __post_init__(self) -> None:
        self.check_sizes(("targets_length",))
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
    def time_width(self) -> int:
        """Width of the time's embedding."""
        return self.film_width or 4 * self.d_model
