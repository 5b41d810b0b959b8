"""Single notes of one key: what a reference synthesizer makes of them, and what the note prior predicts."""

from __future__ import annotations

import torch

from specdiffd.base.events import Event
from specdiffd.base.formats import MelFormat
from specdiffd.base.messages import DRUM_CHANNEL, PROGRAM
from specdiffd.dsp.mel import log_mel
from specdiffd.midi.score import Score
from specdiffd.prior.config import DRUM_PROGRAM
from specdiffd.prior.mixing import summed
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import note_features
from specdiffd.reference.fluid import FluidRenderer
from specdiffd.reference.parts import note
from specdiffd.train.key_fit import KeyFrames

# Velocity and length in seconds of a key's notes. Their onsets lie in different places between frames.
NOTES = ((20, 0.25), (35, 1.2), (50, 0.6), (65, 2.6), (80, 0.25), (92, 0.9), (106, 0.5), (122, 1.6))
FIRST_ONSET_S = 0.1
RELEASE_S = 0.5  # of each note's release, fitted too


def key_frames(renderer: FluidRenderer, fmt: MelFormat, prior: NotePrior, program: int, key: int) -> KeyFrames:
    """The frames of :data:`NOTES` in which they are active.

    Args:
        program: 0 to 127, or DRUM_PROGRAM for the drum kit.
    """
    notes = [_note_frames(renderer, fmt, prior, program, key, number) for number in range(len(NOTES))]
    return KeyFrames(*(torch.cat(columns) for columns in zip(*notes, strict=True)))


def _note_frames(renderer: FluidRenderer, fmt: MelFormat, prior: NotePrior, program: int, key: int, number: int) -> KeyFrames:
    """The active frames of one of :data:`NOTES`."""
    velocity, length_s = NOTES[number]
    channel = DRUM_CHANNEL if program == DRUM_PROGRAM else 0
    onset_s = FIRST_ONSET_S + fmt.frame_s * number / len(NOTES)
    frames = int((onset_s + length_s + RELEASE_S) / fmt.frame_s)
    events = sorted([Event(0.0, PROGRAM | channel, program % DRUM_PROGRAM), *note(channel, onset_s, length_s, key, velocity)])
    audio = renderer.render_at(fmt.sample_rate_hz, events, (frames + 3) * fmt.frame_s)
    target = log_mel(torch.from_numpy(audio), fmt)[:frames]
    performance = Score().extend(events).performance
    features = note_features(performance, fmt.starts_s(0, frames), prior.config.window_s, prior.config.ring_s)
    pairs = prior.contributions(features)
    power = summed(pairs.power, pairs.frame, frames) + 1e-30
    roughness = summed(pairs.rough_power, pairs.frame, frames) / power
    active = features.active[0]
    predicted, age_s = 0.5 * torch.log(power), features.age_s[0][active]
    return KeyFrames(target[active], predicted[active], roughness[active], age_s, features.velocity.expand(len(age_s)))
