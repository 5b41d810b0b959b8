"""Two kinds of notes that are rare in training: those held for very long, and those released while they still rise.

`extrapolation_kernels` computes the same for playing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.prior.config import ATTACK_AGES, DECAY_AGES, RELEASE_KNOWN_S, SUSTAIN_AGES, SUSTAIN_NEPERS_PER_S
from specdiffd.prior.envelope import EnvelopeNetwork, shape_weights
from specdiffd.prior.note_features import NEVER_S, OverTime


class Sustain(NamedTuple):
    """How notes go on after the longest training notes end, and whether their attack is slow; (N,) each."""

    start_s: Tensor  # the age from which the level changes at ``rate``
    rate: Tensor  # nepers a second, not above 0
    slow_attack: Tensor  # bool


def sustain_of(net: EnvelopeNetwork, envelope: Tensor, shapes: Tensor) -> Sustain:
    """How notes go on when they are held for longer than training notes, which last some seconds.

    A note that sustains keeps its level from then on; a note that decays goes on decaying at the same rate.

    Args:
        net: of the envelope.
        envelope: (N, frame_width).
        shapes: (N, K, mel) power of the shapes, with the gains of the last age.
    """
    ages = torch.tensor((*SUSTAIN_AGES, *DECAY_AGES, *ATTACK_AGES), device=envelope.device)
    ages = torch.zeros_like(envelope[:, :1]).float() + ages
    never, none = torch.full_like(ages, -NEVER_S), torch.zeros_like(ages)
    weights = shape_weights(net, envelope[:, None], OverTime(ages, never, never, none, none, none))
    levels = 0.5 * torch.log((weights * shapes.sum(-1)[:, None]).sum(-1) + 1e-30)
    sustain_first, sustain_last, decay_first, decay_last, attack_first, attack_last = levels.unbind(1)
    sustains = (sustain_last - sustain_first) / (SUSTAIN_AGES.last_s - SUSTAIN_AGES.first_s) > -SUSTAIN_NEPERS_PER_S
    rate = ((decay_last - decay_first) / (DECAY_AGES.last_s - DECAY_AGES.first_s)).clamp(max=0.0)
    start = torch.where(sustains, SUSTAIN_AGES.last_s, DECAY_AGES.last_s)
    return Sustain(start.to(rate), torch.where(sustains, 0.0, rate).detach(), attack_last > attack_first)


def held_on(at: OverTime, sustain: Sustain) -> OverTime:
    """Ages and gains (P,) for the envelope network: ages end at ``sustain.start_s`` (P,), and the gain has the decay since then."""
    start_s, rate, _ = sustain
    gain = at.gain + rate * (at.age_s - start_s).clamp_min(0.0)
    return at._replace(age_s=torch.minimum(at.age_s, start_s), gain=gain)


def released_early(net: EnvelopeNetwork, weights: Tensor, envelope: Tensor, slow_attack: Tensor, at: OverTime) -> Tensor:
    """Weights (P, K) with which a note released during a slow attack falls from the level it had reached.

    Shortly after the release the network knows how long the note was held. Later the features of the ages no longer tell, and a short note
    got the release of a long one, up to 20 dB too loud. So from then on its shapes fall as those of a longer note, or faster.

    Args:
        net: of the envelope.
        weights: (P, K) of the shapes, as the network gives them.
        envelope: (P, frame_width).
        slow_attack: (P,) bool.
        at: (P,) each, as they were before `held_on`.
    """
    length_s = at.age_s - at.release_s
    short = slow_attack & (at.release_s > RELEASE_KNOWN_S) & (length_s < ATTACK_AGES.last_s) & (at.choke_s <= -net.config.window_s)
    if not short.any():
        return weights
    envelope, length_s = envelope[short], length_s[short]
    at = OverTime(*(x[short] for x in at))
    longer = shape_weights(net, envelope, at._replace(age_s=ATTACK_AGES.last_s + at.release_s))
    known, none = torch.full_like(at.release_s, RELEASE_KNOWN_S), torch.zeros_like(at.release_s)

    def just_released(length_s: Tensor) -> Tensor:
        return shape_weights(net, envelope, OverTime(length_s + known, known, at.choke_s, none, none, none))

    ratio_of = just_released(length_s), just_released(none + ATTACK_AGES.last_s)
    return weights.index_put((short,), torch.minimum(weights[short], longer * ratio_of[0] / ratio_of[1]))
