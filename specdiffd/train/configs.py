"""Sizes of the networks that training makes, for a mel format."""

from __future__ import annotations

import numpy as np

from specdiffd.base.formats import MelFormat
from specdiffd.diffusion.config import DecoderConfig, EncoderConfig
from specdiffd.dsp.mel import centres_hz
from specdiffd.prior.config import PriorConfig
from specdiffd.tokens.codec import Codec
from specdiffd.vocoder.config import VocoderConfig

CODEC = Codec(steps_per_second=200, max_shift_steps=1100, velocity_bins=32, program_granularity="full")
MODEL_WIDTH, HEADS, FEED_FORWARD_WIDTH = 256, 4, 768  # of encoders and decoder, whose widths have to agree
# Oscillators reach up to here, noise makes the rest. In a mel, a sum of tones looks like noise of less power: with tones to 7 kHz bright
# leads had 3.4 dB too little above 8 kHz, to 10 kHz 3.0, to 12 kHz 2.7. More does not help.
TONES_HZ = 12000.0


def prior_config(fmt: MelFormat) -> PriorConfig:
    """The note prior."""
    return PriorConfig(fmt.mel_bins, fmt.sample_rate_hz, fmt.window_samples, fmt.fft_size, fmt.low_hz, fmt.high_hz, fmt.log_floor)


def encoder_config(fmt: MelFormat) -> EncoderConfig:
    """The encoders of notes and context."""
    return EncoderConfig(
        d_model=MODEL_WIDTH,
        num_layers=2,
        num_heads=HEADS,
        d_ff=FEED_FORWARD_WIDTH,
        vocab_size=-(-CODEC.vocabulary_size // 128) * 128,
        input_dims=fmt.mel_bins,
        causal=True,
        scaled_attention=True,
    )


def decoder_config(fmt: MelFormat) -> DecoderConfig:
    """The decoder."""
    return DecoderConfig(
        d_model=MODEL_WIDTH,
        num_layers=5,
        num_heads=HEADS,
        d_ff=FEED_FORWARD_WIDTH,
        input_dims=fmt.mel_bins,
        causal=True,
        scaled_attention=True,
        stem_channels=16,
        noise_scale=0.08,
        film_width=512,
    )


def vocoder_config(fmt: MelFormat) -> VocoderConfig:
    """The vocoder."""
    return VocoderConfig(
        fmt.sample_rate_hz,
        fmt.hop_samples,
        fmt.mel_bins,
        fmt.low_hz,
        fmt.high_hz,
        log_floor=fmt.log_floor,
        mel_fft_size=fmt.fft_size,
        oscillators=fmt.mel_bins if fmt.high_hz <= TONES_HZ else int(np.searchsorted(centres_hz(fmt), TONES_HZ)) // 8 * 8,
    )
