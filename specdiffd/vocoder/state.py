"""The vocoder's state between two steps, as a value."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.frames import silent_frames


class VocoderState(NamedTuple):
    """Inputs for the next frame and, to go back, for the ``history`` frames before it. The newest is last."""

    frames: Tensor  # (B, kernel - 1 + history, mel, FRAME_FIELDS) input
    trunk: Tensor  # (blocks, B, kernel - 1 + history, width) input of each block
    sub: Tensor  # (sub_blocks, B, kernel - 1 + history * subframes, sub_width) input of each block
    amplitude: Tensor  # (B, 1 + history * subframes, oscillators) at the end of a subframe
    phase_cycles: Tensor  # (B, 1 + history * subframes, oscillators) relative to the phase of the bin's centre frequency
    tone_tail: Tensor  # (B, 1 + history, taps - 1) the last samples of the tones before their low pass
    noise_tail: Tensor  # (B, 1 + history, fft_size - sub_hop) noise that overlaps the next frame
    uncorrected_hop: Tensor  # (B, 1 + history, hop) before its levels are corrected: the next window starts with it
    corrected_tail: Tensor  # (B, 1 + history, hop) second half of the last corrected window
    frame: int  # absolute number of the next hop to be synthesised; it comes out one hop later


def initial_state(config: VocoderConfig, taps: int, batch: int, frame: int, like: Tensor) -> VocoderState:
    """Silence before absolute frame ``frame``.

    Args:
        config: sizes.
        taps: of the tones' low pass.
        batch: number of streams.
        frame: of the first mel frame to come.
        like: gives the device, and the dtype of the inputs of the networks' blocks.
    """
    c, context = config, config.kernel - 1

    def zeros(width: int) -> Tensor:
        return like.new_zeros(batch, 1, width, dtype=torch.float32)

    return VocoderState(
        frames=silent_frames(c, batch, context, like.device),
        trunk=like.new_zeros(c.blocks, batch, context, c.width),
        sub=like.new_zeros(c.sub_blocks, batch, context, c.sub_width),
        amplitude=zeros(c.oscillators),
        phase_cycles=zeros(c.oscillators),
        tone_tail=zeros(taps - 1),
        noise_tail=zeros(c.fft_size - c.sub_hop_samples),
        uncorrected_hop=zeros(c.hop_samples),
        corrected_tail=zeros(c.hop_samples),
        frame=frame - c.lookahead_frames,
    )


def rewound(state: VocoderState, frames: int, subframes: int) -> VocoderState:
    """The state as it was ``frames`` earlier, for a vocoder with ``subframes`` per frame.

    Raises:
        ValueError: the history does not reach that far.
    """
    if frames == 0:
        return state
    if not 0 < frames < state.noise_tail.shape[1]:
        raise ValueError(f"cannot go back {frames} frames, the history holds {state.noise_tail.shape[1] - 1}")

    def cut(x: Tensor, rate: int = 1, dim: int = 1) -> Tensor:
        return x.narrow(dim, 0, x.shape[dim] - frames * rate)

    return VocoderState(
        frames=cut(state.frames),
        trunk=cut(state.trunk, dim=2),
        sub=cut(state.sub, subframes, dim=2),
        amplitude=cut(state.amplitude, subframes),
        phase_cycles=cut(state.phase_cycles, subframes),
        tone_tail=cut(state.tone_tail),
        noise_tail=cut(state.noise_tail),
        uncorrected_hop=cut(state.uncorrected_hop),
        corrected_tail=cut(state.corrected_tail),
        frame=state.frame - frames,
    )


def newest(x: Tensor, rows: int, dim: int = 1) -> Tensor:
    """The last ``rows`` of ``x`` along ``dim``, or all that there are."""
    return x.narrow(dim, max(0, x.shape[dim] - rows), min(rows, x.shape[dim]))


def extended(past: Tensor, new: Tensor, rows: int, dim: int = 1) -> Tensor:
    """``past`` and then ``new`` along ``dim``, the last ``rows`` of them."""
    return newest(torch.cat((past, new), dim), rows, dim)
