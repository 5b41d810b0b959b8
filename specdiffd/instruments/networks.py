"""The networks of the built-in family, and their kernels."""

from __future__ import annotations

from typing import NamedTuple

from specdiffd.backends.base import Kernel
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.encoders import ContextEncoder, NotesEncoder
from specdiffd.diffusion.kernels import context_kernels, decoder_kernels, notes_kernels
from specdiffd.prior.network import NotePrior
from specdiffd.vocoder.streaming import Vocoder


class Networks(NamedTuple):
    """The networks of an instrument, on one device. All but the prior have the same backend."""

    notes_encoder: NotesEncoder
    context_encoder: ContextEncoder
    decoder: Decoder
    vocoder: Vocoder
    prior: NotePrior

    def kernels(self, parts: int) -> list[Kernel]:
        """All kernels that they run through the backend, for a batch of ``parts``."""
        return [
            *notes_kernels(self.notes_encoder, parts),
            *context_kernels(self.context_encoder, parts),
            *decoder_kernels(self.decoder, parts),
            *self.vocoder.kernels(parts),
        ]
