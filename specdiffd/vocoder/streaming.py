"""The built-in vocoder: frames in, as many hops of audio out, in steps of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from specdiffd.vocoder.frames import ELAPSED_SHARE, LOG_MEL, ONSET_SHARE, PARTIAL_DISTANCE, READ, guided_frames, silent_frames
from specdiffd.vocoder.heads import Heads
from specdiffd.vocoder.levels import LevelCorrection
from specdiffd.vocoder.networks import VocoderNetworks
from specdiffd.vocoder.noise import NoiseSource
from specdiffd.vocoder.state import VocoderState, extended, initial_state, newest, rewound
from specdiffd.vocoder.tones import ToneBank


class Vocoder(VocoderNetworks):
    """Mel to audio. :meth:`step` streams; :meth:`forward` is one step from silence.

    A step is :meth:`analyse` (the networks), :meth:`synthesise` (tones and noise) and :meth:`level` (their levels corrected). Its state
    is a value. It holds enough history to go back by up to ``history_frames`` and continue differently from there.
    """

    tone_bank: ToneBank
    noise_source: NoiseSource
    level_correction: LevelCorrection

    def make_constants(self) -> None:
        """Oscillators, noise and filters, which follow from the config; none while the weights are on the meta device."""
        super().make_constants()
        if not self.embed.weight.is_meta:
            self.tone_bank, self.noise_source = ToneBank(self.config), NoiseSource(self.config)
            self.level_correction = LevelCorrection(self.config)

    @property
    def lookahead_frames(self) -> int:
        """Frames by which the audio is late: the networks' lookahead, and the window that levels are measured in."""
        return self.config.lookahead_frames + 1

    def init_state(self, batch: int = 1, frame: int = 0) -> VocoderState:
        """Silence in ``batch`` streams before absolute frame ``frame``."""
        return initial_state(self.config, len(self.tone_bank.low_pass_taps), batch, frame, self.embed.weight)

    def rewind(self, state: VocoderState, frames: int) -> VocoderState:
        """The state as it was ``frames`` earlier.

        Raises:
            ValueError: the history does not reach that far.
        """
        return rewound(state, frames, self.config.subframes)

    def step(self, mel: Tensor, state: VocoderState, guide: Tensor | None = None) -> tuple[Tensor, VocoderState]:
        """Next frames in, as many hops out, ``lookahead_frames`` late.

        Args:
            mel: (B, T, mel_bins), natural log.
            state: from :meth:`init_state` or an earlier step.
            guide: (B, T, mel_bins, 5) as `specdiffd.prior.playing.PlayedPrior` makes it; None where there is no score.

        Returns:
            audio (B, T * hop) of the hops ``state.frame - 1`` to ``state.frame - 1 + T``, and the next state.
        """
        heads, after = self.analyse(mel, state, guide)
        return self.voice(heads, after, state)

    def finish(self, state: VocoderState) -> Tensor:
        """The rest of the audio (B, lookahead_frames * hop), when no more frames come."""
        tail = state.noise_tail
        frames = silent_frames(self.config, tail.shape[0], self.lookahead_frames, tail.device)
        return self.step(frames[..., LOG_MEL], state, frames[..., PARTIAL_DISTANCE:])[0]

    def forward(self, mel: Tensor, guide: Tensor | None = None) -> Tensor:
        """(B, T, mel_bins) to (B, T * hop): one step from silence, the lookahead filled with silence."""
        late = silent_frames(self.config, mel.shape[0], self.lookahead_frames, mel.device)
        if guide is not None:
            guide = torch.cat((guide, late[..., PARTIAL_DISTANCE:]), 1)
        audio, _ = self.step(torch.cat((mel, late[..., LOG_MEL]), 1), self.init_state(mel.shape[0]), guide)
        return audio[:, self.lookahead_frames * self.config.hop_samples :]

    def analyse(self, mel: Tensor, state: VocoderState, guide: Tensor | None = None) -> tuple[Heads, VocoderState]:
        """The networks' part of a :meth:`step`: the heads, and the state with the networks' inputs."""
        c, context = self.config, self.config.kernel - 1
        frames = guided_frames(c, mel, guide)
        before = (state.frames[:, -context:, :, :READ], frames[..., :READ], state.trunk[:, :, -context:], state.sub[:, :, -context:])
        local, x, trunk, sub = self.backend.run(VocoderNetworks.read, self, *before)
        everything = torch.cat((state.frames, frames), 1)
        after = state._replace(
            frames=newest(everything, context + c.history_frames),
            trunk=extended(state.trunk, trunk, context + c.history_frames, 2),
            sub=extended(state.sub, sub.flatten(2, 3), context + c.history_frames * c.subframes, 2),
        )
        return self._heads(local, x, everything, mel.shape[1]), after

    def _heads(self, local: Tensor, x: Tensor, frames: Tensor, hops: int) -> Heads:
        """Heads of the next ``hops`` from the networks' outputs and the ``frames`` so far (B, T, mel, FRAME_FIELDS)."""
        c, raw = self.config, self.raw_heads(local, x)
        last = frames.shape[1] - c.lookahead_frames
        before, now = frames[:, last - hops - 1 : last - 1], frames[:, last - hops : last]  # a hop lies in the windows of two frames
        ceiling = torch.maximum(now[..., LOG_MEL], before[..., LOG_MEL])
        ceiling = F.max_pool1d(ceiling.flatten(0, 1)[:, None], 3, 1, 1)[:, 0].view_as(ceiling)
        partials = now[:, :, : c.oscillators, PARTIAL_DISTANCE:ELAPSED_SHARE]
        return Heads(
            log_amplitude=raw.log_amplitude,
            frequency_offset=self.tone_bank.tuned(raw.frequency_offset, partials),
            log_noise=raw.log_noise,
            log_envelope=raw.log_envelope,
            onsets=now[..., ONSET_SHARE:],
            log_mel_ceiling=ceiling,
            target_frames=before,
        )

    def voice(self, heads: Heads, after: VocoderState, state: VocoderState) -> tuple[Tensor, VocoderState]:
        """The rest of a :meth:`step`, after :meth:`analyse` has given ``heads`` and ``after``."""
        audio, after = self.synthesise(heads, after, state)
        return self.level(audio, heads.target_frames, after)

    def synthesise(self, heads: Heads, after: VocoderState, state: VocoderState) -> tuple[Tensor, VocoderState]:
        """Tones and noise (B, T * hop) of the hops from ``state.frame`` on, in float32. Training losses are computed on this."""
        c, history = self.config, self.config.history_frames
        if self.backend.loops:
            tones, noise = self.tone_bank.play(heads, state), self.noise_source.play(heads, state)
        else:
            tones, noise = self.tone_bank.synthesise(heads, state), self.noise_source.synthesise(heads, state)
        audio, tone_tails = self.tone_bank.low_passed(tones.audio, state)
        return audio + noise.audio, after._replace(
            amplitude=extended(state.amplitude, tones.amplitude, 1 + history * c.subframes),
            phase_cycles=extended(state.phase_cycles, tones.phase_cycles, 1 + history * c.subframes),
            tone_tail=extended(state.tone_tail, tone_tails, 1 + history),
            noise_tail=extended(state.noise_tail, noise.tails, 1 + history),
            frame=state.frame + noise.tails.shape[1],
        )

    def level(self, audio: Tensor, target_frames: Tensor, after: VocoderState) -> tuple[Tensor, VocoderState]:
        """Bring ``audio`` (B, T * hop), which follows the newest hop in ``after``, to the levels of ``target_frames``.

        Returns:
            audio (B, T * hop), one hop late, and the state for the next step.
        """
        history = self.config.history_frames
        before_hop, before_tail = after.uncorrected_hop[:, -1], after.corrected_tail[:, -1]
        hops = self.level_correction(audio, target_frames, before_hop, before_tail, self.backend.loops)
        return hops.audio, after._replace(
            uncorrected_hop=extended(after.uncorrected_hop, hops.uncorrected_hop, 1 + history),
            corrected_tail=extended(after.corrected_tail, hops.corrected_tail, 1 + history),
        )
