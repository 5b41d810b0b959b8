"""Encoders and decoder as one network, the loss of their flow, and the teacher that reflow learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.base.formats import MelFormat
from specdiffd.diffusion.caches import NEVER_VISIBLE, Conditioning
from specdiffd.diffusion.config import DecoderConfig, EncoderConfig
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.encoders import ContextEncoder, NotesEncoder
from specdiffd.diffusion.sampler import flow_step, flow_times
from specdiffd.prior.network import NotePrior
from specdiffd.reference.parts import Rng
from specdiffd.tokens.codec import PAD
from specdiffd.train.examples import WindowExample
from specdiffd.train.loop import reduced_precision
from specdiffd.train.mel_losses import audibility
from specdiffd.train.prior import prior_batch

SHARE_OF_NOISE = 0.4  # of the examples are at time 1, pure noise, where all sampling begins
MOST_RESIDUAL = (
    8.0  # in units of the noise scale; larger ones are clipped, or the frames that the prior gets most wrong would dominate the loss
)


class FlowModel(nn.Module):
    """Encoders and decoder together, and their loss."""

    def __init__(self, encoder: EncoderConfig, decoder: DecoderConfig) -> None:
        super().__init__()
        self.notes_encoder = NotesEncoder(encoder)
        self.continuous_encoder = ContextEncoder(encoder)
        self.decoder = Decoder(decoder)

    def conditioning(self, examples: Sequence[WindowExample], fmt: MelFormat, device: str) -> Conditioning:
        """Encodings of notes and context, padded to the longest of each."""
        ids = _padded([torch.tensor(e.ids) for e in examples], PAD).to(device)
        visible_from = _padded([torch.tensor(e.visible_from) for e in examples], NEVER_VISIBLE).to(device)
        longest = max(len(e.context) for e in examples)
        encoded = self.notes_encoder(ids)
        if longest == 0:
            return self.decoder.condition(encoded, visible_from)
        context = torch.stack([F.pad(fmt.scale(e.context), (0, 0, longest - len(e.context), 0)) for e in examples]).to(device)
        present = torch.stack([torch.arange(longest) >= longest - len(e.context) for e in examples]).to(device)
        present[:, -1] |= ~present.any(1)  # attention needs one place to look; it is not visible to the decoder
        encodings = torch.cat((self.continuous_encoder(context, present), encoded), 1)
        empty = torch.tensor([not len(e.context) for e in examples], device=device)
        context_visible_from = torch.where(present & ~empty[:, None], 0, NEVER_VISIBLE)
        return self.decoder.condition(encodings, torch.cat((context_visible_from, visible_from), 1))

    def loss(
        self,
        examples: Sequence[WindowExample],
        prior: NotePrior,
        fmt: MelFormat,
        rng: Rng,
        device: str,
        teacher: Teacher | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """Squared velocity error of the flow at random times, weighted by audibility; and figures for the log, in nepers.

        Args:
            teacher: says where each noise leads to; without one it is the music.
        """
        decoder, scale = self.decoder, self.decoder.config.noise_scale
        with reduced_precision(device):
            with torch.no_grad():
                prior_mel = fmt.scale_unclipped(prior_batch(prior, [e.features.to(device) for e in examples]).float())
            conditioning = self.conditioning(examples, fmt, device)
            natural = torch.stack([e.target for e in examples]).to(device)
            target = fmt.scale(natural)
            times = _draw_times(rng, len(target)).to(device, torch.float32)
            films = decoder.schedule(times).at(torch.arange(len(target), device=device)[:, None])
            t = times[:, None, None]
            noise = torch.randn_like(target)
            if teacher is None:
                residual = ((target - prior_mel) / scale).clamp(-MOST_RESIDUAL, MOST_RESIDUAL)
            else:
                residual = teacher(noise, prior_mel, examples, fmt)
            x = prior_mel + scale * ((1 - t) * residual + t * noise)
            velocity, _ = decoder.step(x, prior_mel, films, conditioning, decoder.init_state(len(target)))
        loss = _weighted_mean((velocity - (noise - residual)).square(), audibility(natural))
        with torch.no_grad():
            mels = {"l1": x - t * scale * velocity, "prior_l1": prior_mel}
        return loss, {"loss": float(loss.detach()), **{name: _distance(mel, target, fmt) for name, mel in mels.items()}}


class Teacher(NamedTuple):
    """A trained decoder that says where a noise leads to."""

    model: FlowModel
    steps: int

    @torch.no_grad()
    def __call__(self, noise: Tensor, prior_mel: Tensor, examples: Sequence[WindowExample], fmt: MelFormat) -> Tensor:
        """What the decoder makes of ``noise`` (B, F, mel): its distance from ``prior_mel`` (B, F, mel), in units of the noise scale."""
        decoder, scale = self.model.decoder, self.model.decoder.config.noise_scale
        conditioning = self.model.conditioning(examples, fmt, str(noise.device))
        films = decoder.schedule(torch.tensor(flow_times(self.steps)[:-1], device=noise.device))
        x = prior_mel + scale * noise
        for number in range(self.steps):
            place = torch.full((1, 1), number, device=noise.device)
            velocity, _ = decoder.step(x, prior_mel, films.at(place), conditioning, decoder.init_state(len(noise)))
            x = flow_step(x, velocity, number, self.steps, scale)
        return (x - prior_mel) / scale


def _draw_times(rng: Rng, count: int) -> Tensor:
    """Times (count,) of the flow, from 0 (music) to 1 (noise)."""
    return torch.from_numpy(np.where(rng.random(count) < SHARE_OF_NOISE, 1.0, rng.random(count)))


def _weighted_mean(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum() / weight.sum()


def _distance(mel: Tensor, target: Tensor, fmt: MelFormat) -> float:
    """Mean absolute difference in nepers of two mels in the model's range."""
    return float((mel - target).abs().mean() * ((fmt.log_ceiling - fmt.log_floor) / 2))


def _padded(rows: Sequence[Tensor], value: int) -> Tensor:
    longest = max(len(r) for r in rows)
    return torch.stack([F.pad(r, (0, longest - len(r)), value=value) for r in rows])
