"""The vocoder's networks: from mel and guide to amplitudes, frequencies and noise.

- A local network reads a patch of the frames around each bin and gives its oscillator's amplitude and frequency.
- A causal ConvNeXt trunk (as in Vocos, arXiv 2306.00814) at the frame rate, and a short one at the rate of subframes, read the whole
  spectrum and the guide. They give corrections to both, and the noise.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from specdiffd.backends.base import Backend, Input, Kernel
from specdiffd.backends.eager import EAGER
from specdiffd.base.sizes import SIZES
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.frames import LOG_MEL, PARTIAL_LOG_AMPLITUDE, READ
from specdiffd.vocoder.heads import RawHeads
from specdiffd.vocoder.layers import ConvNextBlock, LocalNetwork

Networks = TypeVar("Networks", bound="VocoderNetworks")
SOFT_LOG_NOISE = -6.0  # log level of an untrained network's noise, see `layers.SOFT_LOG_AMPLITUDE`
# Fields are scaled to about 1 for the networks: (field + shift) * factor. Weights are trained for these numbers.
FIELD_SHIFT, FIELD_FACTOR = (5.0, 0.0, 6.0, -1.0), (0.25, 2.0, 0.25, 2.0)


class VocoderNetworks(nn.Module):
    """Frames to raw heads.

    Args:
        config: sizes.
        backend: runs :meth:`read`, and says whether the signal processing runs as loops.
    """

    shift: Tensor
    factor: Tensor

    def __init__(self, config: VocoderConfig, backend: Backend = EAGER) -> None:
        super().__init__()
        self.backend = backend
        self.config = c = config
        self.local = LocalNetwork(c)
        self.embed = nn.Linear(c.kernel * c.mel_bins, c.width)
        self.embed_guide = nn.Linear(2 * c.guide_frames * c.mel_bins, c.width, bias=False)
        nn.init.zeros_(self.embed_guide.weight)
        self.embed_norm = nn.LayerNorm(c.width)
        self.trunk = nn.ModuleList(ConvNextBlock(c.width, c.kernel) for _ in range(c.blocks))
        self.trunk_norm = nn.LayerNorm(c.width)
        self.split = nn.Linear(c.width, c.subframes * c.sub_width)
        self.sub = nn.ModuleList(ConvNextBlock(c.sub_width, c.kernel) for _ in range(c.sub_blocks))
        self.sub_norm = nn.LayerNorm(c.sub_width)
        self.sizes = [c.oscillators, c.oscillators, c.noise_bins, c.envelope_points]  # of the fields of RawHeads
        self.heads = nn.Linear(c.sub_width, sum(self.sizes))
        nn.init.normal_(self.heads.weight, std=0.02)
        with torch.no_grad():
            self.heads.bias.zero_()
            RawHeads(*self.heads.bias.split(self.sizes)).log_noise.fill_(SOFT_LOG_NOISE)
        self.make_constants()

    def make_constants(self) -> None:
        """Buffers that follow from the config, so that a checkpoint does not hold them; none while the weights are on the meta device."""
        if not self.embed.weight.is_meta:
            self.register_buffer("shift", torch.tensor(FIELD_SHIFT), persistent=False)
            self.register_buffer("factor", torch.tensor(FIELD_FACTOR), persistent=False)

    def use(self: Networks, dtype: torch.dtype) -> Networks:
        """Compute in ``dtype``, except for the last layers: levels in bfloat16 have eight bits, and would be heard as noise."""
        for network in (self.embed, self.embed_guide, self.embed_norm, self.trunk, self.trunk_norm, self.split, self.sub, self.sub_norm):
            network.to(dtype)
        for layer in (self.local.patch, self.local.guide, self.local.neighbours):
            layer.to(dtype)
        return self

    def kernels(self, parts: int) -> list[Kernel]:
        """The kernels that the backend runs, for a batch of ``parts``."""
        c, context = self.config, self.config.kernel - 1
        inputs = (
            Input((parts, context, c.mel_bins, READ), exact=True),
            Input((parts, "T", c.mel_bins, READ), exact=True),
            Input((c.blocks, parts, context, c.width)),
            Input((c.sub_blocks, parts, context, c.sub_width)),
        )
        outputs, sizes = ({1: "T"}, {1: "T"}, {2: "T"}, {2: "T"}), {"T": SIZES.vocoder_frames}
        return [Kernel(VocoderNetworks.read, self, self.embed.weight.dtype, inputs, outputs, sizes)]

    def read(self, before: Tensor, frames: Tensor, trunk: Tensor, sub: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A kernel: the networks up to their heads.

        Args:
            before, frames: (B, kernel - 1, mel, 4) and (B, T, mel, 4): the first READ fields of frames.
            trunk, sub: (blocks, B, kernel - 1, width) last inputs of each block.

        Returns:
            input of the local network's head (B, T, oscillators, local_width) and of the trunk's (B, T, subframes, sub_width); inputs
            of each block in the T frames (blocks, B, T, width), (blocks, B, T, subframes, width).
        """
        c = self.config
        windows = ((torch.cat((before, frames), 1) + self.shift) * self.factor).unfold(1, c.kernel, 1)  # (B, T, mel, 4, kernel)
        typed = windows.to(self.embed.weight.dtype)
        x = self.embed(typed[..., LOG_MEL, :].flatten(2)) + self.embed_guide(typed[..., PARTIAL_LOG_AMPLITUDE:, c.guided].flatten(2))
        x = self.embed_norm(x)
        trunk_inputs, sub_inputs = [], []
        for k, block in enumerate(self.trunk):
            trunk_inputs.append(x)
            x = block(x, trunk[k])
        x = self.split(self.trunk_norm(x)).unflatten(-1, (c.subframes, c.sub_width)).flatten(1, 2)
        for k, block in enumerate(self.sub):
            sub_inputs.append(x)
            x = block(x, sub[k])
        parts = (-1, c.subframes)
        return (
            self.local(windows[:, :, : c.oscillators]),
            self.sub_norm(x).unflatten(1, parts),
            torch.stack(trunk_inputs),
            torch.stack(sub_inputs).unflatten(2, parts),
        )

    def raw_heads(self, local: Tensor, sub: Tensor) -> RawHeads:
        """The heads on the first two results of :meth:`read`."""
        local_log_amplitude, local_offset = self.local.oscillators(local)
        x = sub.flatten(1, 2)
        log_amplitude, offset, log_noise, log_envelope = self.heads(x.to(self.heads.weight.dtype)).float().split(self.sizes, -1)
        return RawHeads(log_amplitude + local_log_amplitude, torch.tanh(offset + local_offset), log_noise, log_envelope)
