"""The components of a checkpoint: loaded one by one, checked to fit each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from specdiffd.base.errors import CheckpointError
from specdiffd.base.formats import MelFormat
from specdiffd.diffusion.config import DecoderConfig, EncoderConfig
from specdiffd.instruments.checkpoint import load_weights
from specdiffd.instruments.layout import CONFIG, CONTEXT_ENCODER, DECODER, NOTES_ENCODER, SCHEDULER, SCHEDULER_CONFIG, read_config

M = TypeVar("M", bound=nn.Module)


class Loader:
    """Reads the components of one folder, verified, to a device.

    Args:
        dtype: of the weights.
        random_weights: leave the weights untrained.
    """

    def __init__(self, folder: Path, device: str, dtype: torch.dtype, random_weights: bool) -> None:
        self.folder, self.device, self.dtype, self.random_weights = folder, device, dtype, random_weights

    def __call__(self, part: str, make: Callable[[], M], dtype: torch.dtype | None = None) -> M:
        """The network that ``make`` makes, with the weights of the component ``part``, in ``dtype`` (None: the loader's).

        Raises:
            CheckpointError: they are missing, damaged, or of other shapes.
        """
        kind = dtype or self.dtype
        if self.random_weights:
            return make().eval().requires_grad_(False).to(self.device, kind)
        return load_weights(self.folder / part, make, kind).to(self.device)

    def config(self, part: str, kind: type[Any], key: str | None = None) -> Any:
        """The config of the component ``part``, or the object under its ``key``, as a ``kind``.

        Raises:
            CheckpointError: it is missing, damaged, or has other fields.
        """
        return read_config(self.folder / part / (SCHEDULER_CONFIG if part == SCHEDULER else CONFIG), kind, key)


def check_causal(folder: Path, causal: bool, notes: EncoderConfig, decoder: DecoderConfig) -> None:
    """Instruments with a note prior are rendered causally, published ones a window at a time.

    Raises:
        CheckpointError: an encoder or decoder is of the other kind.
    """
    for part, found in ((NOTES_ENCODER, notes.causal), (DECODER, decoder.causal)):
        if found != causal:
            raise CheckpointError(f"{folder / part / CONFIG}: causal is {found}, expected {causal} for an instrument of this kind")


def check_widths(folder: Path, fmt: MelFormat, notes: EncoderConfig, context: EncoderConfig, decoder: DecoderConfig) -> None:
    """The components must fit each other.

    Raises:
        CheckpointError: naming the file and the two sizes that differ.
    """
    for part, config in ((NOTES_ENCODER, notes), (CONTEXT_ENCODER, context)):
        if config.d_model != decoder.d_model:
            raise CheckpointError(f"{folder / part / CONFIG}: d_model {config.d_model}, expected {decoder.d_model} as in the decoder")
    for part, bins in ((CONTEXT_ENCODER, context.input_dims), (DECODER, decoder.input_dims)):
        if bins != fmt.mel_bins:
            raise CheckpointError(f"{folder / part / CONFIG}: input_dims {bins}, expected {fmt.mel_bins} mel bins")
    if context.targets_context_length < decoder.targets_length:
        raise CheckpointError(
            f"{folder / CONTEXT_ENCODER / CONFIG}: targets_context_length {context.targets_context_length}, expected "
            f"at least the decoder's {decoder.targets_length}"
        )
