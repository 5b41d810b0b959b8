"""The built-in family: window tokens -> notes encoder, previous frames -> context encoder, note prior + few-step decoder -> mel -> vocoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specdiffd.backends.openvino import Graph
from specdiffd.base.events import Controllers, Note, Performance
from specdiffd.base.formats import MelFormat
from specdiffd.base.instrument import Preparation, Rendered, RenderSettings, Stages, finish, render
from specdiffd.base.loops import compiled_once
from specdiffd.base.metrics import Stopwatch
from specdiffd.diffusion.network import (
    NEVER_VISIBLE,
    Conditioning,
    ContextEncoder,
    Decoder,
    DecoderState,
    NotesEncoder,
    NotesState,
)
from specdiffd.diffusion.sampler import FlowConfig, flow_step, flow_times, part_noise
from specdiffd.dsp.mel import centres_hz
from specdiffd.prior import texture
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import note_features
from specdiffd.prior.playing import PlayedPrior
from specdiffd.tokens.codec import PAD, Codec
from specdiffd.tokens.window import window_start, window_tokens
from specdiffd.vocoder.melgan import Vocoder, VocoderState

PREPARED_FRAMES = 10  # at a time
MOST_FRAMES, MOST_TOKENS = 64, 48  # in one pass: for more there is no graph
# Below, single partials are heard, and what differs from them at random is taken for notes; above, it is texture. (Drawn everywhere,
# note F1 falls from 0.71 to 0.45; from here on it stays, and contrast, variance and Frechet distance are nearly the same.)
DRAWN_FROM_HZ = 2000.0
WINDOWS = 5  # kept: the one that plays, those that the forecast has rolled to, and the next


class _Window(NamedTuple):
    """What is kept of one position of the rolling window. The encodings are those of the context, then of the tokens."""

    start: int
    ids: list[list[int]]  # per part
    notes: NotesState
    conditioning: Conditioning
    context_frames: int
    decoder: tuple[DecoderState, ...]  # of each step of sampling

    @property
    def frames(self) -> int:
        """How many the decoder keeps."""
        return self.decoder[0].frames


class StreamState(NamedTuple):
    """The spectrogram so far and everything derived from it that is worth keeping."""

    origin: int  # where the sound began after silence: the first window starts here
    first_frame: int  # of mel and prior
    mel: Tensor  # (B, frames, mel) natural log
    prior: Tensor  # (B, frames, mel) natural log
    windows: tuple[_Window, ...]
    vocoder: VocoderState

    @property
    def next_frame(self) -> int:
        """The first frame that is not there yet."""
        return self.first_frame + self.mel.shape[1]


class SpectrogramInstrument:
    """The built-in family: note prior, causal encoders and decoder, streaming vocoder."""

    def __init__(
        self,
        fmt: MelFormat,
        codec: Codec,
        prior: NotePrior,
        notes_encoder: NotesEncoder,
        context_encoder: ContextEncoder,
        decoder: Decoder,
        vocoder: Vocoder,
        settings: RenderSettings | None = None,
        hop_frames: int = 128,
        flow: FlowConfig | None = None,
        graphs: Sequence[Graph] = (),
        parts: int = 1,
    ) -> None:
        self.format, self.codec = fmt, codec
        self.prior, self.notes_encoder, self.context_encoder, self.decoder, self.vocoder = (
            prior,
            notes_encoder,
            context_encoder,
            decoder,
            vocoder,
        )
        self.settings, self._flow = settings or RenderSettings(), flow or FlowConfig()
        self.steps = self.settings.steps or self._flow.num_inference_steps
        self.sample_rate_hz, self.hop_samples, self.window_samples = fmt.sample_rate_hz, fmt.hop_samples, fmt.window_samples
        self.lookahead_frames = vocoder.lookahead_frames
        self.window_frames = decoder.config.targets_length
        self.hop_frames = hop_frames
        self.ring_s = prior.config.ring_s
        self.stopwatch = Stopwatch()
        self._graphs, self._parts = tuple(graphs), parts  # the parts that the graphs take
        drawn_bins = torch.from_numpy((centres_hz(fmt) >= DRAWN_FROM_HZ).astype(np.float32))
        self.played = PlayedPrior(prior, texture.noise(fmt.mel_bins) * drawn_bins)
        self._films = decoder.schedule(torch.tensor(flow_times(self.steps)[:-1], device=self.device))

    def with_settings(self, **changes: Any) -> SpectrogramInstrument:
        """The same networks with other settings."""
        return SpectrogramInstrument(
            self.format,
            self.codec,
            self.prior,
            self.notes_encoder,
            self.context_encoder,
            self.decoder,
            self.vocoder,
            replace(self.settings, **changes),
            self.hop_frames,
            self._flow,
            self._graphs,
            self._parts,
        )

    @property
    def without_graph(self) -> int:
        """See :class:`Instrument`."""
        return sum(graph.missed for graph in self._graphs)

    @torch.inference_mode()
    def warm_up(self, report: Callable[[str], object] = lambda what: None) -> None:
        """See :class:`Instrument`."""
        for number, graph in enumerate(self._graphs, 1):
            report(f"making graph {number} of {len(self._graphs)}")
            graph.warm_up()
        notes = [Note(0.0, pitch, velocity=100, program=0, channel=0) for pitch in (48, 60)]
        performances = [Performance(notes, {0: Controllers()})] * self._parts
        with compiled_once(report):
            render(self, performances, self.start(0, self._parts), 0, PREPARED_FRAMES)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.decoder.spec_out.weight.device

    def start(self, frame: int, parts: int) -> StreamState:
        """Silence before ``frame``."""
        none = torch.zeros(parts, 0, self.format.mel_bins, device=self.device)
        return StreamState(frame, frame, none, none, (), self.vocoder.init_state(parts, frame))

    def with_caches(self, state: StreamState, newer: StreamState) -> StreamState:
        """See :class:`Instrument`."""
        return state._replace(windows=newer.windows)

    def without_caches(self, state: StreamState) -> StreamState:
        """See :class:`Instrument`."""
        return state._replace(windows=())

    @torch.inference_mode()
    def prepare(self, performances: Sequence[Performance], state: StreamState, frames: int) -> Preparation[StreamState] | None:
        """See :class:`Instrument`: the context, the tokens and the known frames of a new window, a few at a time."""
        if not self.settings.use_decoder:
            return None
        start = window_start(state.origin, state.next_frame + frames, self.window_frames, self.hop_frames)
        old = self._window_at(start, state)
        if old is None:
            return self._prepared(state, self._empty_window(start, state, len(performances)))
        window = finish(self._window(old, performances, MOST_TOKENS))
        if window.notes.tokens > old.notes.tokens:
            return self._prepared(state, _at_once(window))
        if self.unprepared(state, frames) < PREPARED_FRAMES:
            return None
        return self._prepared(state, self._remembered(state, window, PREPARED_FRAMES))

    def unprepared(self, state: StreamState, frames: int) -> int:
        """See :class:`Instrument`."""
        start = window_start(state.origin, state.next_frame + frames, self.window_frames, self.hop_frames)
        window = self._window_at(start, state)
        return state.next_frame - start - (window.frames if window else 0) if self.settings.use_decoder else 0

    @torch.inference_mode()
    def _prepared(self, state: StreamState, stages: Generator[None, None, _Window]) -> Preparation[StreamState]:
        return self._with_window(state, (yield from stages))

    def _remembered(self, state: StreamState, window: _Window, frames: int) -> Generator[None, None, _Window]:
        """The window with so many more of the known frames in the decoder's memory."""
        first = window.start + window.frames
        clean, prior = self._known(state, first, first + frames)
        noisy, after = self._noisy(prior, first), []
        for step, decoder in enumerate(window.decoder):
            if step:
                yield
            x = torch.lerp(clean, noisy, flow_times(self.steps)[step])
            _, decoder = yield from self._at_step(step, x, prior, window, decoder)
            after.append(decoder)
        return window._replace(decoder=tuple(after))

    def _noisy(self, prior: Tensor, first: int) -> Tensor:
        """Where the flow begins for frames ``first`` and on of ``prior``, both in the model's range."""
        parts, frames, bins = prior.shape
        noise = part_noise(self.settings.seed, parts, first, frames, bins)
        return prior + (self.decoder.config.noise_scale * self.settings.noise) * noise.to(prior)

    def _at_step(
        self, step: int, x: Tensor, prior: Tensor, window: _Window, decoder: DecoderState
    ) -> Generator[None, None, tuple[Tensor, DecoderState]]:
        films = self._films.at(torch.full((1, 1), step, device=self.device))
        return (yield from self.decoder.step_in_halves(x, prior, films, window.conditioning, decoder))

    @staticmethod
    def _window_at(start: int, state: StreamState) -> _Window | None:
        """What is kept of the window at ``start``."""
        return next((w for w in state.windows if w.start == start), None)

    @staticmethod
    def _with_window(state: StreamState, window: _Window) -> StreamState:
        """The state with a window added or replaced; the oldest beyond ``WINDOWS`` goes."""
        others = tuple(w for w in state.windows if w.start != window.start)
        return state._replace(windows=(*others, window)[-WINDOWS:])

    def _known(self, state: StreamState, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Mel and note prior of known frames in the model's range, (B, last - first, mel) each."""
        mel, prior = (self._history(frames, state, first, last) for frames in (state.mel, state.prior))
        return self.format.scale(mel), self.format.scale_unclipped(prior)

    @torch.inference_mode()
    def stages(
        self, performances: Sequence[Performance], state: StreamState, first_frame: int, frames: int, draft: bool = False
    ) -> Stages[StreamState]:
        """See :class:`Instrument`: a draft is what the note prior sounds like without the decoder."""
        state = self.rewind(state, first_frame)
        prior, drawn, guides = self._prior(performances, first_frame, frames)
        self.stopwatch.lap("prior")
        yield None
        if draft and self.settings.use_decoder:
            sketch, vocoder = yield from self._voice(prior + drawn, guides, state, first_frame)
            self.stopwatch.lap("draft")
            yield sketch, self._kept(self._followed(state, prior, prior)._replace(vocoder=vocoder))
        if self.settings.use_decoder:
            sampled = yield from self._in_windows(performances, state, prior)
        else:
            sampled = self._followed(state, prior, prior)
        mel = sampled.mel[:, -frames:]
        self.stopwatch.lap("decoder")
        yield None
        # The state has the frames without what was drawn: fed back, it would make the next window louder, and that the next.
        rendered, vocoder = yield from self._voice(mel + drawn, guides, state, first_frame)
        self.stopwatch.lap("vocoder")
        return rendered, self._kept(sampled._replace(vocoder=vocoder))

    def _voice(
        self, mel: Tensor, guides: Tensor, state: StreamState, first_frame: int
    ) -> Generator[None, None, tuple[Rendered, VocoderState]]:
        """The vocoder's networks, then its synthesis, on frames (natural log) that follow those of ``state``."""
        after = state.vocoder
        audio: list[Tensor] = []
        for some, guide in zip(mel.split(MOST_FRAMES, 1), guides.split(MOST_FRAMES, 1), strict=True):
            if audio:
                yield
            heads, seen = self.vocoder.analyse(some, after, guide)
            yield
            hops, after = self.vocoder.voice(heads, seen, after)
            audio.append(hops.cpu())
        return Rendered(torch.cat(audio, 1).numpy(), first_frame - self.lookahead_frames, mel), after

    @torch.inference_mode()
    def vocoded(self, mel: Tensor, guides: Tensor | None = None) -> NDArray[np.float32]:
        """Audio (B, F * hop_samples) that the vocoder makes of a whole spectrogram (B, F, mel_bins), natural log, on any device.

        Args:
            mel: from silence on.
            guides: (B, F, mel_bins, 5) as :class:`specdiffd.prior.playing.PlayedPrior` makes them; None: without a score.
        """
        state, audio = self.vocoder.init_state(len(mel)), []
        for first in range(0, mel.shape[1], MOST_FRAMES):
            some = slice(first, first + MOST_FRAMES)
            guide = None if guides is None else guides[:, some].to(self.device)
            hops, state = self.vocoder.step(mel[:, some].to(self.device), state, guide)
            audio.append(hops.cpu())
        audio.append(self.vocoder.finish(state).cpu())
        return torch.cat(audio, 1)[:, self.lookahead_frames * self.hop_samples :].numpy()

    def rewind(self, state: StreamState, frame: int) -> StreamState:
        """See :class:`Instrument`."""
        back = state.next_frame - frame
        if back < 0:
            raise ValueError(f"frame {frame} does not follow frame {state.next_frame - 1}")
        known = state.mel.shape[1] - back
        windows = tuple(
            w._replace(decoder=tuple(d.first(min(d.frames, frame - w.start)) for d in w.decoder)) for w in state.windows if w.start <= frame
        )
        vocoder = self.vocoder.rewind(state.vocoder, back)
        return StreamState(state.origin, state.first_frame, state.mel[:, :known], state.prior[:, :known], windows, vocoder)

    def _prior(self, performances: Sequence[Performance], first_frame: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Natural-log mel (B, frames, mel) of the notes, its texture, and the vocoder's guide (B, frames, mel, 5)."""
        starts_s = self.format.starts_s(first_frame, frames)
        config = self.prior.config
        parts = []
        for performance in performances:
            features = note_features(performance, starts_s, config.window_s, config.ring_s)
            parts.append(self.played(features, texture.rows(features, self.format.frame_s)))
        mels, drawn, guides = (torch.stack(x).to(self.device) for x in zip(*parts, strict=True))
        return mels, self.settings.noise * drawn, guides

    def _in_windows(self, performances: Sequence[Performance], state: StreamState, prior: Tensor) -> Generator[None, None, StreamState]:
        """Sample the frames of ``prior`` (natural log), which follow those of ``state``, each in the window that is its own.

        So a frame comes out the same whichever stretch it is part of, and a revision near a roll goes on as the forecast did.
        """
        end = state.next_frame + prior.shape[1]
        while (first := state.next_frame) < end:
            start = window_start(state.origin, first + 1, self.window_frames, self.hop_frames)
            old = self._window_at(start, state)
            if old is None:
                old = yield from self._empty_window(start, state, len(performances))
            window = yield from self._window(old, performances)
            self.stopwatch.lap("encoder")
            yield
            here = min(end, start + self.window_frames, first + MOST_FRAMES) - first
            mel, window = yield from self._sample(state, prior[:, :here], window)
            state = self._followed(self._with_window(state, window), mel, prior[:, :here])
            prior = prior[:, here:]
        return state

    @staticmethod
    def _followed(state: StreamState, mel: Tensor, prior: Tensor) -> StreamState:
        """The state with more frames (natural log)."""
        return state._replace(mel=torch.cat((state.mel, mel), 1), prior=torch.cat((state.prior, prior), 1))

    def _kept(self, state: StreamState) -> StreamState:
        """The state without the frames that no window can see any more."""
        drop = max(0, state.mel.shape[1] - 2 * self.window_frames)
        return state._replace(first_frame=state.first_frame + drop, mel=state.mel[:, drop:], prior=state.prior[:, drop:])

    def _sample(self, state: StreamState, prior: Tensor, window: _Window) -> Generator[None, None, tuple[Tensor, _Window]]:
        """Sample the frames of ``prior`` (natural log), which follow those of ``state``, in ``window``, half a step at a time.

        At each step they look at the frames that were sampled in this window before as those were at that step: all of a window's
        are one sample, however it is cut into stretches.
        """
        first, fmt = state.next_frame, self.format
        while (missing := first - window.start - window.frames) > 0:
            window = yield from self._remembered(state, window, min(missing, MOST_FRAMES))
        source = fmt.scale_unclipped(prior)
        x, after = self._noisy(source, first), []
        for step, decoder in enumerate(window.decoder):
            if step:
                yield
            v, decoder = yield from self._at_step(step, x, source, window, decoder)
            x = flow_step(x, v, step, self.steps, self.decoder.config.noise_scale)
            after.append(decoder)
        mel = fmt.unscale(x).clamp(fmt.log_floor, 2 * fmt.log_ceiling)
        return mel, window._replace(decoder=tuple(after))

    def _history(self, frames: Tensor, state: StreamState, first: int, last: int) -> Tensor:
        """Frames first..last of ``frames`` (which begin at state.first_frame), silence before them."""
        missing = max(0, min(last, state.first_frame) - first)
        there = frames[:, max(0, first - state.first_frame) : max(0, last - state.first_frame)]
        if not missing:
            return there
        return torch.cat((there.new_full((len(frames), missing, frames.shape[2]), self.format.log_floor), there), 1)

    def _window(self, old: _Window, performances: Sequence[Performance], most_tokens: int | None = None) -> Generator[None, None, _Window]:
        """A window with the tokens of now, so many at a time; what was computed for it before is kept where it still holds.

        Args:
            most_tokens: encode no more than so many; None: all.
        """
        start = old.start
        frame_s = self.format.frame_s
        tokens = [window_tokens(p, start * frame_s, (start + self.window_frames) * frame_s, self.codec) for p in performances]
        self.stopwatch.lap("tokens")
        ids = [t.ids[:-1] for t in tokens]  # the end mark says nothing to a causal encoder
        common = min(_common_prefix(a, b) for a, b in zip(old.ids, ids, strict=True))
        if most_tokens is not None:
            ids = [i[: common + most_tokens] for i in ids]
        longest = max(len(i) for i in ids)
        notes, conditioning = old.notes.first(common), old.conditioning.first(old.context_frames + common)
        for first in range(common, longest, MOST_TOKENS):
            if first > common:
                yield
            some = slice(first, min(first + MOST_TOKENS, longest))
            padded = torch.full((len(ids), some.stop - first), PAD)
            visible_from = torch.full(padded.shape, NEVER_VISIBLE)
            for part, t in enumerate(tokens):
                new = ids[part][some]
                padded[part, : len(new)] = torch.tensor(new)
                visible_from[part, : len(new)] = self._visible_from(t.times_s[: len(ids[part])][some], start)
            encoded, notes = self.notes_encoder.extend(padded.to(self.device), None, notes)
            conditioning = conditioning.followed_by(self.decoder.condition(encoded, visible_from.to(self.device)))
        return old._replace(ids=ids, notes=notes, conditioning=conditioning)

    def _visible_from(self, times_s: Sequence[float], start: int) -> Tensor:
        """For each token the first frame of the window that can have heard its event."""
        return torch.tensor([0 if math.isinf(t) else max(0, self.format.first_frame_of(t) - start) for t in times_s])

    def _empty_window(self, start: int, state: StreamState, parts: int) -> Generator[None, None, _Window]:
        """No tokens yet; the frames before the window encoded as its context (none at the beginning or when switched off)."""
        config, weight = self.context_encoder.config, self.context_encoder.layer_norm.weight
        first = max(state.first_frame, start - self.window_frames)  # more than a window it has not learned from
        if self.settings.use_context and first < start:
            frames = self.format.scale(self._history(state.mel, state, first, start))
            context = yield from self.context_encoder.encode(frames.to(weight.dtype))
        else:
            context = weight.new_zeros(parts, 0, config.d_model)
        visible_from = torch.zeros(context.shape[:2], dtype=torch.int64, device=self.device)
        conditioning = self.decoder.condition(context, visible_from)
        return _Window(
            start,
            [[] for _ in range(parts)],
            self.notes_encoder.init_state(parts),
            conditioning,
            context.shape[1],
            (self.decoder.init_state(parts),) * self.steps,
        )


def _at_once(window: _Window) -> Generator[None, None, _Window]:
    """What takes no more stages."""
    yield from ()
    return window


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
