"""The published family: diffusion from noise over whole windows, as in arXiv 2206.05408 and its public code.

Offline a song is cut into windows, each conditioned on the one before it: `song` gives what the public pipeline gives,
draw for draw. Live, the window rolls. Known frames are kept: at each step they are replaced by themselves with that
step's noise, as in arXiv 2201.09865, and the rest of the window is sampled to continue them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from specdiffd.base.events import Performance
from specdiffd.base.formats import MelFormat
from specdiffd.base.instrument import Preparation, Rendered, RenderSettings, Stages
from specdiffd.base.metrics import Stopwatch
from specdiffd.diffusion.caches import NEVER_VISIBLE, Conditioning
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.encoders import ContextEncoder, NotesEncoder
from specdiffd.diffusion.sampler import part_noise, sample_diffusion
from specdiffd.diffusion.schedule import DiffusionConfig, diffusion_schedule
from specdiffd.instruments.prediction import predictor
from specdiffd.instruments.streaming import StreamingVocoder
from specdiffd.tokens.codec import Codec
from specdiffd.tokens.window import song_windows, window_start, window_tokens

log = logging.getLogger(__name__)
OFFLINE_STEPS = 100  # the public pipeline's default
LIVE_SCHEDULER, LIVE_STEPS = "dpmsolver++", 8
RING_S = 2.0  # rendering goes on for so long after the last note: a longer release would be cut off


class PublishedState(NamedTuple):
    """The spectrogram so far, and the conditioning of the window that was rendered last."""

    origin: int
    first_frame: int  # of mel
    mel: Tensor  # (B, frames, mel) natural log
    window: tuple[object, Conditioning] | None  # start and tokens of the last window, and its conditioning
    vocoder: Any

    @property
    def next_frame(self) -> int:
        """The first frame after the spectrogram."""
        return self.first_frame + self.mel.shape[1]


class SongStretch(NamedTuple):
    """One window of a song."""

    first_sample: int
    audio: Tensor  # (samples,)
    mel: Tensor  # (frames, mel) natural log


class PublishedInstrument:
    """Notes encoder, context encoder, decoder and a vocoder, sampled by a diffusion scheduler.

    Raises:
        ValueError: the schedule does not have as many steps as the settings ask for.
    """

    without_graph = 0  # PyTorch runs its networks on any device: sampling whole windows in many steps needs a GPU anyway

    def __init__(
        self,
        fmt: MelFormat,
        codec: Codec,
        notes_encoder: NotesEncoder,
        context_encoder: ContextEncoder,
        decoder: Decoder,
        vocoder: StreamingVocoder,
        diffusion: DiffusionConfig,
        scheduler: str,
        settings: RenderSettings,
        hop_frames: int = 128,
    ) -> None:
        self.format, self.codec, self.settings = fmt, codec, settings
        self.notes_encoder, self.context_encoder, self.decoder, self.vocoder = notes_encoder, context_encoder, decoder, vocoder
        self.sample_rate_hz, self.hop_samples, self.window_samples = fmt.sample_rate_hz, fmt.hop_samples, fmt.window_samples
        self.lookahead_frames = vocoder.lookahead_frames
        self.window_frames, self.hop_frames, self.ring_s = decoder.config.targets_length, hop_frames, RING_S
        self.stopwatch = Stopwatch()
        self.offline = diffusion_schedule(diffusion, settings.scheduler or scheduler, settings.steps or OFFLINE_STEPS)
        self.live = diffusion_schedule(diffusion, settings.scheduler or LIVE_SCHEDULER, settings.steps or LIVE_STEPS)
        self.steps = len(self.offline.timesteps)

    @property
    def device(self) -> torch.device:
        """The networks' device."""
        return self.decoder.spec_out.weight.device

    # -- offline -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def song(self, performance: Performance) -> Iterator[SongStretch]:
        """Window after window, with the noise that the public pipeline draws from ``torch.Generator().manual_seed(seed)``."""
        fmt, generator = self.format, torch.Generator().manual_seed(self.settings.seed)
        shape = (1, self.window_frames, fmt.mel_bins)
        predict = predictor(self.decoder, self.offline, self.settings.guidance)

        def draw() -> Tensor:
            return torch.randn(shape, generator=generator).to(self.device)

        context: Tensor | None = None
        state = self.vocoder.init_state(1, 0)
        sample = -self.lookahead_frames * fmt.hop_samples
        for window in song_windows(performance, fmt, self.window_frames, self.codec):
            if window.dropped_events:
                log.warning(
                    "%d events of a window do not fit in %d tokens, the newest are kept", window.dropped_events, self.codec.max_tokens
                )
            conditioning = self._conditioning([window.ids], context)
            x = sample_diffusion(predict(conditioning), draw(), self.offline, draw)
            mel = fmt.unscale(x)
            context = fmt.scale(mel)
            audio, state = self.vocoder.step(mel, state)
            early = max(0, -sample)
            yield SongStretch(sample + early, audio[0, early:].cpu(), mel[0].cpu())
            sample += audio.shape[1]
        yield SongStretch(sample, self.vocoder.finish(state)[0].cpu(), torch.zeros(0, fmt.mel_bins))

    # -- live ----------------------------------------------------------------------------------------------------

    def warm_up(self, report: Callable[[str], object] = lambda what: None) -> None:
        """Nothing to do."""

    def start(self, frame: int, parts: int) -> PublishedState:
        """Silence before ``frame``."""
        none = torch.zeros(parts, 0, self.format.mel_bins, device=self.device)
        return PublishedState(frame, frame, none, None, self.vocoder.init_state(parts, frame))

    def with_caches(self, state: PublishedState, newer: PublishedState) -> PublishedState:
        """``state`` with the conditioning that ``newer`` has."""
        return state._replace(window=newer.window)

    def without_caches(self, state: PublishedState) -> PublishedState:
        """``state``: it is small."""
        return state

    def rewind(self, state: PublishedState, frame: int) -> PublishedState:
        """The state as it was before ``frame``.

        Raises:
            ValueError: the state has not reached ``frame``, or the vocoder's history does not reach back to it.
        """
        back = state.next_frame - frame
        if back < 0:
            raise ValueError(f"frame {frame} does not follow frame {state.next_frame - 1}")
        return state._replace(mel=state.mel[:, : state.mel.shape[1] - back], vocoder=self.vocoder.rewind(state.vocoder, back))

    def prepare(self, performances: Sequence[Performance], state: PublishedState, frames: int) -> Preparation[PublishedState] | None:
        """Nothing can be done ahead of time."""
        return None

    def unprepared(self, state: PublishedState, frames: int) -> int:
        """0: known frames are sampled again with the rest of their window."""
        return 0

    @torch.inference_mode()
    def stages(
        self, performances: Sequence[Performance], state: PublishedState, first_frame: int, frames: int, draft: bool = False
    ) -> Stages[PublishedState]:
        """Render frames ``first_frame`` and on; those that ``state`` has from there on are replaced.

        Args:
            performances: of each part.
            state: that before ``first_frame``, or a later one.
            first_frame: absolute.
            frames: how many.
            draft: ignored: there are no drafts.

        Returns:
            three stages, which return audio (parts, frames * hop_samples) and the next state.
        """
        state = self.rewind(state, first_frame)
        past = state.mel
        start = window_start(state.origin, first_frame + frames, self.window_frames, self.hop_frames)
        made_from, conditioning = self._window(performances, state, start)
        self.stopwatch.lap("encoder")
        yield None
        known = self._scaled(past, state.first_frame, start, first_frame)
        x = self._sample_after(known, conditioning, start)
        mel = self.format.unscale(x[:, first_frame - start : first_frame - start + frames])
        mel = mel.clamp(self.format.log_floor, 2 * self.format.log_ceiling)
        self.stopwatch.lap("decoder")
        yield None
        audio, vocoder = self.vocoder.step(mel, state.vocoder)
        self.stopwatch.lap("vocoder")
        everything = torch.cat((past, mel), 1)
        drop = max(0, everything.shape[1] - 2 * self.window_frames)
        after = PublishedState(state.origin, state.first_frame + drop, everything[:, drop:], (made_from, conditioning), vocoder)
        return Rendered(audio.cpu().numpy(), first_frame - self.lookahead_frames, mel), after

    def _window(self, performances: Sequence[Performance], state: PublishedState, start: int) -> tuple[object, Conditioning]:
        """The conditioning of the window at ``start``, with its start and tokens; the last one if these are the same."""
        frame_s = self.format.frame_s
        ids = [window_tokens(p, start * frame_s, (start + self.window_frames) * frame_s, self.codec).ids for p in performances]
        self.stopwatch.lap("tokens")
        made_from = (start, ids)
        if state.window is not None and state.window[0] == made_from:
            return state.window
        first = max(state.first_frame, start - self.window_frames)
        context = self._scaled(state.mel, state.first_frame, first, start) if first < start else None
        return made_from, self._conditioning(ids, context)

    def _scaled(self, mel: Tensor, first_frame: int, first: int, last: int) -> Tensor:
        """Frames first..last of ``mel``, which begins at ``first_frame``, in the model's range."""
        return self.format.scale(mel[:, max(0, first - first_frame) : max(0, last - first_frame)])

    def _sample_after(self, known: Tensor, conditioning: Conditioning, start: int) -> Tensor:
        """A window (B, window_frames, mel) whose first frames are ``known``."""
        parts, frames, bins = known.shape[0], self.window_frames, self.format.mel_bins
        noise = part_noise(self.settings.seed, parts, start, frames, bins).to(self.device)
        predict = predictor(self.decoder, self.live, self.settings.guidance)(conditioning)
        count = known.shape[1]
        alphas = [float(self.live.alphas_cumprod[t]) for t in self.live.timesteps]

        def predict_after(x: Tensor, step: int) -> Tensor:
            alpha = alphas[step]
            past = alpha**0.5 * known + (1 - alpha) ** 0.5 * noise[:, :count]
            return predict(torch.cat((past, x[:, count:]), 1), step)

        return sample_diffusion(predict_after, noise, self.live)

    # -- both ----------------------------------------------------------------------------------------------------

    def _conditioning(self, ids: Sequence[list[int]], context: Tensor | None) -> Conditioning:
        """What the decoder attends to: the tokens of each part, then the context (B, n, mel) in the model's range."""
        longest = max(len(i) for i in ids)
        padded = torch.tensor([i + [0] * (longest - len(i)) for i in ids], device=self.device)
        valid = padded > 0
        encodings = self.notes_encoder(padded, None if bool(valid.all()) else valid)
        visible = torch.where(valid, 0, NEVER_VISIBLE)
        if context is not None:
            encoded = self.context_encoder(context.to(self.context_encoder.input_proj.weight.dtype))
            encodings = torch.cat((encodings, encoded), 1)
            visible = torch.cat((visible, visible.new_zeros(encoded.shape[:2])), 1)
        return self.decoder.condition(encodings, visible)
