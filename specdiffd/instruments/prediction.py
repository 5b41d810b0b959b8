"""The prediction at each step of sampling a published checkpoint: the decoder, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from specdiffd.diffusion.caches import Conditioning
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.schedule import DiffusionSchedule

Predict = Callable[[Tensor, int], Tensor]  # of x_t (B, F, mel) and the number of the step; same shape


def predictor(decoder: Decoder, schedule: DiffusionSchedule, guidance: float) -> Callable[[Conditioning], Predict]:
    """The decoder at the times of a schedule. Its FiLM tables are made once.

    Guidance (arXiv 2207.12598) of weight w is w times the prediction plus 1 - w times the prediction without notes and context. For the
    latter the encodings are zeros: their values are zeros too, so cross-attention adds nothing, whatever the mask.
    """
    device, weight = decoder.spec_out.weight.device, decoder.spec_out.weight
    tables = decoder.schedule(torch.tensor(schedule.timesteps, device=device) / schedule.config.num_train_timesteps)
    films = [tables.at(torch.full((1, 1), k, device=device)) for k in range(len(schedule.timesteps))]

    def of(conditioning: Conditioning) -> Predict:
        if guidance == 1:
            return lambda x, step: decoder(x, films[step], conditioning)
        zeros = weight.new_zeros(*conditioning.visible_from.shape, decoder.config.d_model)
        unconditional = decoder.condition(zeros, torch.zeros_like(conditioning.visible_from))

        def guided(x: Tensor, step: int) -> Tensor:
            return guidance * decoder(x, films[step], conditioning) + (1 - guidance) * decoder(x, films[step], unconditional)

        return guided

    return of
