"""Sizes that no network has are refused by name, before anything of that size is made."""

import math
from dataclasses import fields

import pytest

from specdiffd.diffusion.config import DecoderConfig, EncoderConfig

SHARED = {"d_model": 1 << 14, "num_layers": 256, "num_heads": 1 << 10, "d_kv": 1 << 12, "d_ff": 1 << 17, "input_dims": 1 << 12}
ENCODER = {**SHARED, "vocab_size": 1 << 20, "max_length": 1 << 20, "targets_context_length": 1 << 20}
DECODER = {**SHARED, "targets_length": 1 << 20}
CASES = [(kind, name, most) for kind, limits in ((EncoderConfig, ENCODER), (DecoderConfig, DECODER)) for name, most in limits.items()]


@pytest.mark.parametrize(("kind", "name", "most"), CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_every_size_has_a_range(kind: type[EncoderConfig | DecoderConfig], name: str, most: int) -> None:
    for allowed in (1, most):
        kind(**{name: allowed})
    for refused in (0, -1, most + 1):
        with pytest.raises(ValueError, match=f"^{name} {refused}: expected 1 to {most}$"):
            kind(**{name: refused})


@pytest.mark.parametrize("kind", [EncoderConfig, DecoderConfig])
def test_no_size_is_forgotten(kind: type[EncoderConfig | DecoderConfig]) -> None:
    """Every whole number but those with a range of their own is in the table above."""
    others = {"stem_channels", "film_width"}
    whole = {f.name for f in fields(kind) if isinstance(f.default, int) and not isinstance(f.default, bool)}
    assert whole - others == {name for checked, name, _ in CASES if checked is kind}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"film_width": -1}, "film_width -1: expected 0 to 65536"),
        ({"film_width": 65537}, "film_width 65537: expected 0 to 65536"),
        ({"max_decoder_noise_time": 1.0}, "max_decoder_noise_time 1.0: expected more than 1"),
        ({"max_decoder_noise_time": math.inf}, "max_decoder_noise_time inf: expected more than 1"),
        ({"max_decoder_noise_time": math.nan}, "max_decoder_noise_time nan: expected more than 1"),
        ({"stem_channels": -1}, "stem_channels -1: expected 0 to 1024"),
        ({"stem_channels": 4, "num_layers": 1}, "num_layers 1: expected 2 or more with stem_channels"),
        ({"noise_scale": 0.0}, "noise_scale 0.0: expected more than 0"),
        ({"noise_scale": math.nan}, "noise_scale nan: expected more than 0"),
    ],
)
def test_what_else_a_decoder_cannot_be(values: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        DecoderConfig(**values)  # type: ignore[arg-type]


def test_other_feed_forward_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="feed_forward_proj 'relu': expected gated-gelu"):
        EncoderConfig(feed_forward_proj="relu")


@pytest.mark.parametrize("kind", [EncoderConfig, DecoderConfig])
def test_attention_is_scaled_where_the_checkpoint_says_so(kind: type[EncoderConfig | DecoderConfig]) -> None:
    assert kind(d_kv=16).attention_scale == 1.0
    assert kind(d_kv=16, scaled_attention=True).attention_scale == 0.25


def test_the_times_embedding_is_four_times_as_wide_unless_said_otherwise() -> None:
    assert DecoderConfig(d_model=96).time_width == 384
    assert DecoderConfig(d_model=96, film_width=10).time_width == 10
