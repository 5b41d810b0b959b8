"""A note over time: the weights of its spectral shapes in a frame, from the times since its onset, release and choke.

`envelope_kernels` computes the same for playing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.prior.config import DECAYS_S, HAT_S, PriorConfig
from specdiffd.prior.note_features import NEVER_S, OverTime


class EnvelopeNetwork(NamedTuple):
    """The layers that give the weights of a note's shapes in a frame."""

    frame: nn.Linear  # reads the features of the frame
    weights: nn.Sequential  # reads the result plus the note's ``envelope``
    config: PriorConfig


def shape_weights(net: EnvelopeNetwork, envelope: Tensor, at: OverTime) -> Tensor:
    """Power weights (..., K) of the shapes of notes in frames.

    Args:
        net: the layers.
        envelope: (..., frame_width) the notes' input to the network, from the note network.
        at: (...) each: ages and controllers of the notes in the frames.
    """
    ages = [age_features(x, net.config) for x in (at.age_s, at.release_s, at.choke_s)]
    frames = net.frame(torch.cat((*ages, at.pedal[..., None], at.modulation[..., None]), -1)) + envelope
    return (2 * (net.weights(frames).float().clamp(-16.0, 6.0) + at.gain[..., None])).exp()


def age_features(age_s: Tensor, config: PriorConfig) -> Tensor:
    """Encodes ages (...) in seconds as inputs of the network: (..., config.age_features).

    Hat functions around the event, exponentials and a logarithm after it; all zero in a frame that ends before the event.
    """
    happened = (age_s > -config.window_s)[..., None].to(age_s.dtype)
    middles_s = (torch.arange(config.hats) * HAT_S - config.window_s).to(age_s.device)
    hats = F.relu(1 - (age_s[..., None] - middles_s).abs() / HAT_S) * happened
    past = age_s.clamp_min(0.0)[..., None]
    decays = torch.exp(-past / torch.tensor(DECAYS_S, device=age_s.device)) * happened
    return torch.cat((hats, decays, torch.log1p(past.clamp_max(NEVER_S) * 50) / 4 * happened, happened), -1)
