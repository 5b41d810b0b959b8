"""Correction of levels, in torch to train. `levels_kernels` has the compiled form, to play.

The sound is analysed as the mel was, and each short-time spectrum is scaled to the levels of the mel: one iteration of the method of
Griffin and Lim (1984). So the networks need to find a waveform for a mel, but not the exact level of each bin.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.base.formats import MelFormat
from specdiffd.dsp.mel import mel_filters
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.frames import LOG_MEL, ONSET_SHARE
from specdiffd.vocoder.levels_kernels import LevelConstants, correct_levels
from specdiffd.vocoder.onset_gate import attack_samples, hop_gain
from specdiffd.vocoder.onset_gate_kernels import gate_hops

# Levels are corrected above this frequency, by at most the limit. The mel L1 of copies with the score is 0.279 without correction, 0.152 with
# all bins, 0.163 from 400 Hz and 0.171 from 1 kHz; their note F1 is 0.579, 0.566, 0.581 and 0.576. Two iterations give an L1 of 0.131.
CORRECTED_FROM_HZ, LIMIT_NEPERS = 400.0, 2.3
LEAST_HEIGHT_SUM = 1e-9  # avoids a division by 0 at bins of the transform that no triangle covers


class CorrectedHops(NamedTuple):
    """Corrected audio, and after each hop the state for the next one."""

    audio: Tensor  # (B, T * hop) one hop later than the input
    uncorrected_hop: Tensor  # (B, T, hop) the input
    corrected_tail: Tensor  # (B, T, hop) second half of each corrected window


class LevelCorrection(nn.Module):
    """Brings audio to the levels of its mel. Buffers only: all follows from the config."""

    filters: Tensor
    spread: Tensor
    window: Tensor
    overlap: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = c = config
        filters = mel_filters(_mel_format(c))  # (bins, mel)
        corrected = torch.arange(len(filters))[:, None] * (c.sample_rate_hz / c.mel_fft_size) >= CORRECTED_FROM_HZ
        spread = (filters * corrected / filters.sum(1, keepdim=True).clamp_min(LEAST_HEIGHT_SUM)).T.contiguous()
        window = torch.hann_window(2 * c.hop_samples)
        first, second = window.square().chunk(2)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("spread", spread, persistent=False)  # (mel, bins) log gains of mel bins to those of the transform's bins
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("overlap", window / (first + second).repeat(2), persistent=False)
        self._constants = _level_constants(filters, spread, c.log_floor)
        self._attack_samples = np.float32(attack_samples(c))

    def forward(self, audio: Tensor, target_frames: Tensor, before_hop: Tensor, before_tail: Tensor, compiled: bool) -> CorrectedHops:
        """Correct the levels of ``before_hop`` and of all of ``audio`` but its last hop, whose window is not complete yet.

        A gain per bin is a filter that spreads sound to both sides in time, so the change is gated at onsets.

        Args:
            audio: (B, T * hop) uncorrected.
            target_frames: (B, T, mel, FRAME_FIELDS) the mel that the audio should have, and its onsets.
            before_hop: (B, hop) the uncorrected hop before ``audio``.
            before_tail: (B, hop) second half of the corrected window before.
            compiled: by loops, without gradients, on the CPU.
        """
        c, hop = self.config, self.config.hop_samples
        log_mel, onsets = target_frames[..., LOG_MEL], target_frames[..., ONSET_SHARE:]
        windows = torch.cat((before_hop, audio), 1).unfold(1, 2 * hop, hop)
        spectra = torch.fft.rfft(windows * self.window, c.mel_fft_size)
        spectra = self.corrected_by_loops(spectra, log_mel) if compiled else self.corrected(spectra, log_mel)
        pieces = torch.fft.irfft(spectra, c.mel_fft_size)[..., : 2 * hop] * self.overlap
        first, second = pieces.unflatten(-1, (2, hop)).unbind(2)
        uncorrected = windows[..., :hop]
        change = first + torch.cat((before_tail[:, None], second[:, :-1]), 1) - uncorrected
        if compiled:
            gate_hops(self._attack_samples, onsets.contiguous().numpy(), change.numpy())
        else:
            change = change * hop_gain(onsets, c).view_as(change)
        return CorrectedHops((uncorrected + change).flatten(1), audio.unflatten(1, (-1, hop)), second)

    def corrected(self, spectra: Tensor, log_mel: Tensor) -> Tensor:
        """Complex spectra (B, T, bins) with the levels of ``log_mel`` (B, T, mel), within limits; differentiable, on any device."""
        log_floor = self.config.log_floor
        measured = torch.log((spectra.abs() @ self.filters).clamp_min(math.exp(log_floor)))
        log_gain = (log_mel - measured).clamp(-LIMIT_NEPERS, LIMIT_NEPERS)
        audible = 1 - torch.exp(log_floor - log_mel.amax(-1, keepdim=True).clamp_min(log_floor))
        return spectra * (log_gain @ self.spread).exp() * audible

    def corrected_by_loops(self, spectra: Tensor, log_mel: Tensor) -> Tensor:
        """The same as :meth:`corrected` by compiled loops, in place, without gradients, on the CPU."""
        correct_levels(self._constants, torch.view_as_real(spectra).numpy(), log_mel.contiguous().numpy())
        return spectra


def _mel_format(config: VocoderConfig) -> MelFormat:
    c = config
    return MelFormat(
        c.sample_rate_hz, c.hop_samples, 2 * c.hop_samples, c.mel_fft_size, c.mel_bins, c.low_hz, c.high_hz, math.exp(c.log_floor)
    )


def _level_constants(filters: Tensor, spread: Tensor, log_floor: float) -> LevelConstants:
    """The two values of each row of ``filters`` (bins, mel) and each column of ``spread`` (mel, bins) that may not be 0."""
    heights, shares = F.pad(filters, (1, 1)), F.pad(spread.T, (1, 1))
    lower = (heights > 0).int().argmax(1).clamp_max(filters.shape[1])

    def at(weights: Tensor, beside: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return weights.gather(1, lower[:, None] + beside)[:, 0].numpy()

    return LevelConstants(
        lower_mel_bin=lower.numpy(),
        lower_height=at(heights, 0),
        upper_height=at(heights, 1),
        lower_share=at(shares, 0),
        upper_share=at(shares, 1),
        log_floor=np.float32(log_floor),
        limit_nepers=np.float32(LIMIT_NEPERS),
    )
