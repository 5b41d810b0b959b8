"""The built-in family: window tokens -> notes encoder, previous frames -> context encoder, note prior + few-step decoder -> mel -> vocoder."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specdiffd.base.events import Controllers, Note, Performance
from specdiffd.base.formats import MelFormat
from specdiffd.base.instrument import Preparation, Rendered, RenderSettings, Stages, render
from specdiffd.base.loops import compiled_once
from specdiffd.base.metrics import Stopwatch
from specdiffd.base.sizes import SIZES
from specdiffd.diffusion.sampler import FlowConfig
from specdiffd.dsp.mel import centres_hz
from specdiffd.instruments.networks import Networks
from specdiffd.instruments.refining import Refiner
from specdiffd.instruments.sampling import Sampler
from specdiffd.instruments.state import StreamState
from specdiffd.instruments.windows import Windows
from specdiffd.prior import texture
from specdiffd.prior.note_features import note_features
from specdiffd.prior.playing import PlayedPrior
from specdiffd.tokens.codec import Codec
from specdiffd.vocoder.state import VocoderState

# Texture is added from this frequency on. Below it single partials are heard, and noise between them is taken for notes. With texture in
# all bins note F1 falls from 0.71 to 0.45; from 2 kHz on it stays, and contrast, variance and Frechet distance are nearly the same.
TEXTURE_FROM_HZ = 2000.0


class SpectrogramInstrument:
    """Note prior, causal encoders and decoder, streaming vocoder.

    Args:
        hop_frames: by which the window rolls.
        flow: None: one step.
        parts: scores that :meth:`warm_up` renders at once: the batch that the backend's kernels were made for.
    """

    def __init__(
        self,
        fmt: MelFormat,
        codec: Codec,
        networks: Networks,
        settings: RenderSettings | None = None,
        hop_frames: int = 128,
        flow: FlowConfig | None = None,
        parts: int = 1,
    ) -> None:
        self.format, self.codec, self.networks = fmt, codec, networks
        self.notes_encoder, self.context_encoder, self.decoder, self.vocoder, self.prior = networks
        self.settings, self._flow = settings or RenderSettings(), flow or FlowConfig()
        self.steps = self.settings.steps or self._flow.num_inference_steps
        self.sample_rate_hz, self.hop_samples, self.window_samples = fmt.sample_rate_hz, fmt.hop_samples, fmt.window_samples
        self.lookahead_frames = self.vocoder.lookahead_frames
        self.window_frames, self.hop_frames = self.decoder.config.targets_length, hop_frames
        self.ring_s = self.prior.config.ring_s
        self.backend, self._parts = self.decoder.backend, parts
        self.stopwatch = Stopwatch()
        texture_bins = torch.from_numpy((centres_hz(fmt) >= TEXTURE_FROM_HZ).astype(np.float32))
        self.played = PlayedPrior(self.prior, texture.noise(fmt.mel_bins) * texture_bins)
        windows = Windows(fmt, codec, self.notes_encoder, self.context_encoder, self.decoder, hop_frames, self.settings.use_context)
        sampler = Sampler(fmt, self.decoder, self.steps, self.settings.seed, self.settings.noise)
        self._refiner = Refiner(windows, sampler, lambda name: self.stopwatch.lap(name))  # a bench replaces the stopwatch

    def with_settings(self, **changes: Any) -> SpectrogramInstrument:
        """The same networks with other settings."""
        settings = replace(self.settings, **changes)
        return SpectrogramInstrument(self.format, self.codec, self.networks, settings, self.hop_frames, self._flow, self._parts)

    @property
    def without_graph(self) -> int:
        """Calls of networks for which there was no graph."""
        return self.backend.missed

    @property
    def device(self) -> torch.device:
        """The networks' device."""
        return self.decoder.spec_out.weight.device

    @torch.inference_mode()
    def warm_up(self, report: Callable[[str], object] = lambda what: None) -> None:
        """Make all graphs and compile all loops. ``report`` is called with the name of each piece of work before it begins."""
        self.backend.warm_up(report)
        notes = [Note(0.0, pitch, velocity=100, program=0, channel=0) for pitch in (48, 60)]
        performances = [Performance(notes, {0: Controllers()})] * self._parts
        with compiled_once(report):
            render(self, performances, self.start(0, self._parts), 0, SIZES.revision_frames)

    # -- states --------------------------------------------------------------------------------------------------

    def start(self, frame: int, parts: int) -> StreamState:
        """The state before absolute frame ``frame``, after silence."""
        none = torch.zeros(parts, 0, self.format.mel_bins, device=self.device)
        return StreamState(frame, frame, none, none, (), self.vocoder.init_state(parts, frame))

    def with_caches(self, state: StreamState, newer: StreamState) -> StreamState:
        """``state`` with the windows of ``newer``, which continues it."""
        return state._replace(windows=newer.windows)

    def without_caches(self, state: StreamState) -> StreamState:
        """``state`` without windows."""
        return state._replace(windows=())

    def rewind(self, state: StreamState, frame: int) -> StreamState:
        """The state as it was before ``frame``.

        Raises:
            ValueError: the state has not reached ``frame``, or the vocoder's history does not reach back to it.
        """
        back = state.next_frame - frame
        if back < 0:
            raise ValueError(f"frame {frame} does not follow frame {state.next_frame - 1}")
        return state.before(frame, self.vocoder.rewind(state.vocoder, back))

    # -- rendering -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def prepare(self, performances: Sequence[Performance], state: StreamState, frames: int) -> Preparation[StreamState] | None:
        """One piece of work that rendering the next ``frames`` frames will need.

        Returns:
            stages that return the state with that work done; None when there is nothing left to do.
        """
        stages = self._refiner.prepare(performances, state, frames) if self.settings.use_decoder else None
        return None if stages is None else self._prepared(stages)

    @torch.inference_mode()
    def _prepared(self, stages: Preparation[StreamState]) -> Preparation[StreamState]:
        """The same stages, without gradients."""
        return (yield from stages)

    def unprepared(self, state: StreamState, frames: int) -> int:
        """How many known frames the decoder must read before it can render the next ``frames`` frames."""
        return self._refiner.unprepared(state, frames) if self.settings.use_decoder else 0

    @torch.inference_mode()
    def stages(
        self, performances: Sequence[Performance], state: StreamState, first_frame: int, frames: int, draft: bool = False
    ) -> Stages[StreamState]:
        """Render frames ``first_frame`` and on; those that ``state`` has from there on are replaced.

        Args:
            performances: of each part.
            state: that before ``first_frame``, or a later one.
            first_frame: absolute.
            frames: how many.
            draft: first yield the audio of the note prior's draft frames, and the state after them.

        Returns:
            stages of a few milliseconds, which return audio (parts, frames * hop_samples) and the next state.
        """
        state = self.rewind(state, first_frame)
        prior, textures, guides = self._prior(performances, first_frame, frames)
        self.stopwatch.lap("prior")
        yield None
        if draft and self.settings.use_decoder:
            sketch, vocoder = yield from self._voice(prior + textures, guides, state, first_frame)
            self.stopwatch.lap("draft")
            yield sketch, self._kept(state.followed_by(prior, prior), vocoder)
        if self.settings.use_decoder:
            sampled = yield from self._refiner.refined(performances, state, prior)
        else:
            sampled = state.followed_by(prior, prior)
        mel = sampled.mel[:, -frames:]
        self.stopwatch.lap("decoder")
        yield None
        # The state has the frames without texture: as context, texture would make each window louder than the one before.
        rendered, vocoder = yield from self._voice(mel + textures, guides, state, first_frame)
        self.stopwatch.lap("vocoder")
        return rendered, self._kept(sampled, vocoder)

    @torch.inference_mode()
    def vocoded(self, mel: Tensor, guides: Tensor | None = None) -> NDArray[np.float32]:
        """The vocoder's audio (B, F * hop_samples) for a whole spectrogram (B, F, mel_bins), natural log, on any device.

        Args:
            mel: silence comes before it.
            guides: (B, F, mel_bins, 5) from :class:`specdiffd.prior.playing.PlayedPrior`; None: there is no score.
        """
        state, audio = self.vocoder.init_state(len(mel)), []
        for first in range(0, mel.shape[1], SIZES.pass_frames):
            frames = slice(first, first + SIZES.pass_frames)
            guide = None if guides is None else guides[:, frames].to(self.device)
            hops, state = self.vocoder.step(mel[:, frames].to(self.device), state, guide)
            audio.append(hops.cpu())
        audio.append(self.vocoder.finish(state).cpu())
        return torch.cat(audio, 1)[:, self.lookahead_frames * self.hop_samples :].numpy()

    def _prior(self, performances: Sequence[Performance], first_frame: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """The notes' natural-log mel and texture (B, frames, mel), and the vocoder's guide (B, frames, mel, 5)."""
        starts_s = self.format.starts_s(first_frame, frames)
        config = self.prior.config
        parts = []
        for performance in performances:
            features = note_features(performance, starts_s, config.window_s, config.ring_s)
            parts.append(self.played(features, texture.rows(features, self.format.frame_s)))
        mels, textures, guides = (torch.stack(x).to(self.device) for x in zip(*parts, strict=True))
        return mels, self.settings.noise * textures, guides

    def _voice(
        self, mel: Tensor, guides: Tensor, state: StreamState, first_frame: int
    ) -> Generator[None, None, tuple[Rendered, VocoderState]]:
        """The vocoder's networks, then its synthesis, on frames (natural log) that follow those of ``state``."""
        after = state.vocoder
        audio: list[Tensor] = []
        for frames, guide in zip(mel.split(SIZES.pass_frames, 1), guides.split(SIZES.pass_frames, 1), strict=True):
            if audio:
                yield
            heads, analysed = self.vocoder.analyse(frames, after, guide)
            yield
            hops, after = self.vocoder.voice(heads, analysed, after)
            audio.append(hops.cpu())
        return Rendered(torch.cat(audio, 1).numpy(), first_frame - self.lookahead_frames, mel), after

    def _kept(self, state: StreamState, vocoder: VocoderState) -> StreamState:
        """The state with no more frames than windows can still read, and the vocoder's state."""
        return state.last(2 * self.window_frames)._replace(vocoder=vocoder)
