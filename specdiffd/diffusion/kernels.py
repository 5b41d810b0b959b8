"""The kernels of the encoders and the decoder for playing, with the sizes that they are compiled for."""

from __future__ import annotations

from specdiffd.backends.base import Input, Kernel, Sizes
from specdiffd.base.sizes import SIZES
from specdiffd.diffusion.config import DecoderConfig
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.encoders import ContextEncoder, EncoderLayer, NotesEncoder
from specdiffd.diffusion.layers import NOWHERE, CausalConv2d


def notes_kernels(encoder: NotesEncoder, parts: int) -> list[Kernel]:
    """The kernel of `NotesEncoder.extend`, for a batch of ``parts``; the encoder must be causal."""
    c = encoder.config
    inputs = (
        Input((parts, "N", c.d_model)),
        Input((2 * c.num_layers, parts, c.num_heads, "past", c.d_kv), masked=True),
        Input((1, "past"), NOWHERE),
        Input(("N", "N"), NOWHERE),
    )
    sizes: Sizes = {"N": SIZES.tokens, "past": SIZES.cache_rows}
    return [Kernel(NotesEncoder.encode, encoder, encoder.layer_norm.weight.dtype, inputs, ({1: "N"}, {3: "N"}), sizes)]


def context_kernels(encoder: ContextEncoder, parts: int) -> list[Kernel]:
    """The kernels of `ContextEncoder.encode`, one a layer, for a batch of ``parts``."""
    c, dtype = encoder.config, encoder.layer_norm.weight.dtype
    inputs = Input((parts, "N", c.d_model)), Input((parts, 1, 1, "N"), NOWHERE)
    sizes = {"N": (SIZES.pass_frames, c.targets_context_length)}
    return [Kernel(EncoderLayer.hidden, layer, dtype, inputs, ({1: "N"},), sizes) for layer in encoder.encoders]


def decoder_kernels(decoder: Decoder, parts: int) -> list[Kernel]:
    """The kernels of `Decoder.step` and `Decoder.condition`, for a batch of ``parts``; the decoder must be causal and have a stem."""
    c, dtype = decoder.config, decoder.spec_out.weight.dtype
    frames, images = Input((parts, "F", c.input_dims)), [_image(c, channels, parts) for channels in decoder.image_channels]
    below = (frames, frames, Input((parts, "F", 2, c.stem_channels)), Input(("F", c.d_model)), *images[:2])
    above = (Input((parts, "F", c.d_model)), Input((parts, c.stem_channels, "F", c.input_dims)), *images[2:])
    lower, upper = (_attention(c, layers, parts) for layers in (decoder.lower_layers, c.num_layers - decoder.lower_layers))
    hidden, keys_values, image = {1: "F"}, {3: "F"}, {2: "F"}
    sizes: Sizes = {"F": SIZES.decoder_frames, "K": (c.targets_length,), "S": SIZES.cache_rows}
    encoded = {"N": (*SIZES.tokens, c.targets_length)}  # a window's context is as long as a window at most
    return [
        Kernel(Decoder.lower, decoder, dtype, (*lower, *below), (hidden, keys_values, image, image, image), sizes),
        Kernel(Decoder.upper, decoder, dtype, (*upper, *above), (hidden, keys_values, image, image), sizes),
        Kernel(Decoder.cross_keys_values, decoder, dtype, (Input((parts, "N", c.d_model)),), ({3: "N"},), encoded),
    ]


def _image(c: DecoderConfig, channels: int, parts: int) -> Input:
    """The last input frames of a convolution with ``channels`` input channels."""
    return Input((parts, channels, CausalConv2d.TAPS - 1, c.input_dims))


def _attention(c: DecoderConfig, layers: int, parts: int) -> tuple[Input, ...]:
    """Inputs of ``layers`` layers in addition to hidden frames: FiLM tables, keys and values of frames and encodings, three biases."""
    return (
        Input((parts, "F", 2 * layers, 2, c.d_model)),
        Input((2 * layers, parts, c.num_heads, "K", c.d_kv), masked=True),
        Input((2 * layers, parts, c.num_heads, "S", c.d_kv), masked=True),
        Input((1, "K"), NOWHERE),
        Input(("F", "F"), NOWHERE),
        Input((parts, 1, "F", "S"), NOWHERE),
    )
