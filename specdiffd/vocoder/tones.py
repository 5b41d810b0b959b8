"""The sinusoids, one per mel bin, in torch to train. `tones_kernels` has the compiled form, to play.

An oscillator's phase is that of its bin's centre frequency at the absolute sample, plus the integral of its frequency's distance from the
centre since it was last silent. So equal mels give equal sound, whatever was rendered before.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.base.mel_scale import hz_difference
from specdiffd.vocoder import oscillators
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.heads import Heads
from specdiffd.vocoder.limits import MARGIN_NEPERS, audibility, log_level_limit
from specdiffd.vocoder.mel_grid import mel_grid
from specdiffd.vocoder.onset_gate import attack_samples, oscillator_gate
from specdiffd.vocoder.state import VocoderState
from specdiffd.vocoder.tones_kernels import LEAST_LOG_AMPLITUDE, MOST_LOG_AMPLITUDE, ToneConstants, ToneRows, ToneTargets, sum_tones

# Partials below this frequency and above this level take their frequency from the score. Then the note F1 of guided copies is 1.00 of the
# original's. It was 0.92 with the network's frequencies, and 0.99 with the score's up to 7 kHz.
KNOWN_TO_HZ, KNOWN_LOG_AMPLITUDE = 2000.0, -8.0
SILENT_LOG_AMPLITUDE = -9.0  # 78 dB below full scale: a softer oscillator's phase is reset; at a higher level that would click
# The kinks of the oscillators' amplitudes add distortion above the last oscillator, some 100 dB down, which would cover soft noise. A low
# pass removes it. It ends this far above the last oscillator; fewer taps or less room would leave more distortion.
LOW_PASS_TAPS, LOW_PASS_ROOM_HZ = 33, 2500.0


class Tones(NamedTuple):
    """Tones before their low pass, and the oscillators at the end of each subframe."""

    audio: Tensor  # (B, samples)
    amplitude: Tensor  # (B, M, oscillators)
    phase_cycles: Tensor  # (B, M, oscillators) relative to the bin's centre frequency


class ToneBank(nn.Module):
    """Makes tones from heads. Buffers only: all follows from the config."""

    centre_hz: Tensor
    half_width_hz: Tensor
    low_pass_taps: Tensor
    log_gain: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = c = config
        grid = mel_grid(c)
        self.log_step = grid.step
        self.register_buffer("centre_hz", grid.centre_hz[: c.oscillators].float(), persistent=False)
        self.register_buffer("half_width_hz", grid.half_width_hz[: c.oscillators].float(), persistent=False)
        self.register_buffer("low_pass_taps", _low_pass_taps(c, float(self.centre_hz[-1])), persistent=False)
        window_samples = 2 * c.hop_samples  # a sinusoid of amplitude 1 has a log mel of at least half its peak, window_samples / 4
        self.register_buffer("log_gain", torch.tensor(math.log(window_samples / 8)), persistent=False)
        self._constants = ToneConstants(
            centre_hz=self.centre_hz.numpy(),
            half_width_hz=self.half_width_hz.numpy(),
            sample_rate_hz=np.float32(c.sample_rate_hz),
            subframes=c.subframes,
            sub_hop_samples=c.sub_hop_samples,
            log_gain=np.float32(self.log_gain),
            log_floor=np.float32(c.log_floor),
            margin_nepers=np.float32(MARGIN_NEPERS),
            silent_log_amplitude=np.float32(SILENT_LOG_AMPLITUDE),
            attack_samples=np.float32(attack_samples(c)),
        )

    def frequencies_hz(self, offset: Tensor) -> Tensor:
        """Oscillators' frequencies from their offsets in half widths: within the bin and half of either neighbour."""
        return self.centre_hz + self.half_width_hz * offset

    def tuned(self, offset: Tensor, partials: Tensor) -> Tensor:
        """Frequency offsets, exact for the partials in the guide.

        Frequencies estimated from windows of 40 ms waver from frame to frame, which hides low and close notes.

        Args:
            offset: (B, M, oscillators) in half widths, from the networks.
            partials: (B, T, oscillators, 2) distance in bins and log amplitude, from the guide.

        Returns:
            (B, M, oscillators) in half widths.
        """
        distance, log_amplitude = partials.unbind(-1)
        exact = hz_difference(self.centre_hz, distance * self.log_step) / self.half_width_hz
        known = (log_amplitude > KNOWN_LOG_AMPLITUDE) & (self.centre_hz < KNOWN_TO_HZ)
        subframes = self.config.subframes
        return torch.where(known.repeat_interleave(subframes, 1), exact.repeat_interleave(subframes, 1), offset)

    def synthesise(self, heads: Heads, state: VocoderState) -> Tones:
        """The sum of the oscillators, differentiable, on any device."""
        c = self.config
        log_amplitude, audible = self._limited(heads)
        frequency_hz = self.frequencies_hz(heads.frequency_offset)
        step_cycles = (frequency_hz - self.centre_hz) * (c.sub_hop_samples / c.sample_rate_hz)  # per subframe, relative to the centre
        phase_cycles = oscillators.running_phases(step_cycles, state.phase_cycles[:, -1:], log_amplitude < SILENT_LOG_AMPLITUDE)
        phase_before = torch.cat((state.phase_cycles[:, -1:], phase_cycles[:, :-1]), 1)
        start_cycles = self._carrier_cycles(state.frame, frequency_hz) + phase_before
        amplitude = log_amplitude.exp() * audible
        before = torch.cat((state.amplitude[:, -1:], amplitude[:, :-1]), 1)
        gate = oscillator_gate(heads.onsets, c)
        tones = oscillators.oscillate(start_cycles, frequency_hz / c.sample_rate_hz, before, amplitude, c.sub_hop_samples, gate)
        return Tones(tones.flatten(1), amplitude, phase_cycles)

    def play(self, heads: Heads, state: VocoderState) -> Tones:
        """The same as :meth:`synthesise` by compiled loops, without gradients, on the CPU."""
        c, (batch, subframes, count) = self.config, heads.log_amplitude.shape
        targets = ToneTargets(
            heads.log_amplitude.contiguous().numpy(),
            heads.frequency_offset.contiguous().numpy(),
            heads.onsets.contiguous().numpy(),
            heads.log_mel_ceiling.contiguous().numpy(),
        )
        amplitude, phase_cycles = (torch.empty(batch, subframes + 1, count) for _ in range(2))
        amplitude[:, 0], phase_cycles[:, 0] = state.amplitude[:, -1], state.phase_cycles[:, -1]
        tones = torch.empty(batch, subframes, c.sub_hop_samples)
        rows = ToneRows(amplitude.numpy(), phase_cycles.numpy())
        sum_tones(self._constants, targets, rows, state.frame * c.subframes, tones.numpy())
        return Tones(tones.flatten(1), amplitude[:, 1:], phase_cycles[:, 1:])

    def low_passed(self, tones: Tensor, state: VocoderState) -> tuple[Tensor, Tensor]:
        """Tones (B, samples) through their low pass, and its input history after each frame: (B, T, taps - 1)."""
        past = len(self.low_pass_taps) - 1
        samples = torch.cat((state.tone_tail[:, -1], tones), 1)
        tails = samples.unfold(1, past, self.config.hop_samples)[:, 1:]
        return F.conv1d(samples[:, None], self.low_pass_taps[None, None])[:, 0], tails

    def _limited(self, heads: Heads) -> tuple[Tensor, Tensor]:
        """Log amplitudes (B, M, oscillators) limited by the mel, and a factor that is 0 where the mel shows silence."""
        c = self.config
        ceiling = heads.log_mel_ceiling[..., : c.oscillators].repeat_interleave(c.subframes, 1)
        log_amplitude = heads.log_amplitude.clamp(float(LEAST_LOG_AMPLITUDE), float(MOST_LOG_AMPLITUDE))
        return torch.minimum(log_amplitude, log_level_limit(ceiling, self.log_gain)), audibility(ceiling, c.log_floor)

    def _carrier_cycles(self, first_frame: int, like: Tensor) -> Tensor:
        """Phases of the bins' centre frequencies at the beginning of subframes: (M, oscillators), M as in ``like`` (B, M, oscillators).

        Double precision holds hours of cycles. It is computed on the CPU, since not every device has it.
        """
        c = self.config
        subframe = np.arange(like.shape[1], dtype=np.float64) + first_frame * c.subframes
        cycles = subframe[:, None] * (self._constants.centre_hz.astype(np.float64) * c.sub_hop_samples / c.sample_rate_hz)
        return torch.from_numpy(np.remainder(cycles, 1.0).astype(np.float32)).to(like.device)


def _low_pass_taps(config: VocoderConfig, last_centre_hz: float) -> Tensor:
    """Taps of the low pass (Kaiser window), one if the oscillators reach the end of the format's range. It delays by a third of a millisecond."""
    if config.oscillators == config.mel_bins:
        return torch.ones(1)
    n = torch.arange(LOW_PASS_TAPS, dtype=torch.float64) - (LOW_PASS_TAPS - 1) / 2
    cutoff = 2 * (last_centre_hz + LOW_PASS_ROOM_HZ) / config.sample_rate_hz
    taps = torch.sinc(cutoff * n) * torch.kaiser_window(LOW_PASS_TAPS, False, 5.0, dtype=torch.float64)
    return (taps / taps.sum()).float()
