"""The page to read: from notes to sound. Score -> window -> mel -> audio -> timeline.

The timeline always holds a forecast: audio of the future, rendered as if nothing more were played. An event makes a
revision: the frames from the event on are rendered anew and spliced in, a short urgent stretch first, the rest in
slices that the next event interrupts. The engine knows no clock but the timeline's playhead, so it runs the same in a
live process, on a virtual clock in tests, and offline.

Whoever plays waits for the first splice of a revision only. So an instrument that can make a draft does so first: it is
spliced in at once, and what it is a draft of replaces as much of it as has not been heard.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.events import CHANNELS, Event
from specdiffd.base.formats import first_frame_at
from specdiffd.base.instrument import Instrument, Preparation, Rendered
from specdiffd.dsp.resample import Resampler
from specdiffd.dsp.reverb import to_room
from specdiffd.dsp.splice import crossfade, fade_out
from specdiffd.midi.score import KEPT_NOTES, Score
from specdiffd.shared.timeline import CHANNELS as BUS_CHANNELS
from specdiffd.shared.timeline import Timeline

log = logging.getLogger(__name__)
JOIN_STAGES = 1  # how far a revision may be to begin again for more events
TYPICAL = 1.25  # times the mean is what a revision is expected to take
SCARCE_S = 0.08  # of forecast: the next slice comes as a draft first, since all of it, with a new window, may take as long
OUTLASTS = 2.0  # times what is rendered takes usually, forecast should last until then
REVISION_LASTS_S = 0.1  # what one of ``urgent_frames`` leaves of forecast, about
UNPREPARED_FRAMES = 20  # so many take longer to go through than a draft lasts: they wait until there is time
# Amid dense playing more forecast than this is only made to be replaced, and takes the processor from whoever plays and listens.
BUSY_FORECAST_S = 0.25
CALM_S = 0.15  # since the last revision
PATIENCE_S = 0.004  # besides a block, left over when a revision begins as late as it may
CONTROLLERS_S = 1.0  # before the playhead: no frame that is rendered anew lies further back
SILENCE = 2e-5  # peak below which a released sound is over, 94 dB under full scale


@dataclass(frozen=True)
class EngineSettings:
    """Sizes and margins, in the units their names say."""

    sample_rate_hz: int = 48000  # of the timeline
    block_samples: int = 256  # read at a time
    guard_samples: int = 48  # a splice is not written into a block that may be read sooner than this
    crossfade_samples: int = 144
    least_fade_samples: int = 48  # of a late splice
    before_onset_samples: int = 48  # a crossfade ends this long before the onset it makes room for
    end_fade_samples: int = 1440  # written at the end of every forecast
    urgent_frames: int = 10
    most_frames: int = 14  # of a revision that begins before its splice, since a draft had not been finished
    slice_frames: int = 10
    prepared_frames: int = 48  # ahead of the next slice
    drafts: bool = True  # spliced in before what they are drafts of, where the instrument can make them
    eager: bool = True  # an event is rendered as soon as it comes; else when it must, together with all that comes until then
    lead_samples: int = 0  # how much sooner than it must
    forecast_s: float = 2.0
    parts: tuple[frozenset[int], ...] = (frozenset(range(CHANNELS)),)
    reverb: bool = False  # something listens to the second channel


@dataclass
class Counters:
    """What happened, since the start."""

    events: int = 0
    revisions: int = 0
    late_splices: int = 0
    overtaken: int = 0  # drafts that another event replaced before they were finished
    kept_drafts: int = 0  # drafts that were not finished, since a window for that was not prepared
    stale_fades: int = 0  # a forecast ended before the rest of it came
    slices: int = 0


@dataclass
class _Forecast:
    """What stands in the timeline from the last wake-up on, and the states it can be continued from."""

    states: list[Any] = field(default_factory=list)  # ends of stretches, ascending
    source_end: int = 0  # samples at the instrument's rate
    solid_until: int = 0  # timeline samples; behind it the end fade is written


@dataclass
class _Revision:
    """A revision in hand."""

    changed_s: float  # the earliest event that is in the timeline in no form
    unfinished_s: float  # the earliest that is there in a draft at most
    stage: int = 0
    frames: int = 0  # that are rendered
    begun_s: float = field(default_factory=time.perf_counter)
    spliced_s: float | None = None  # when the draft, or the whole, was in the timeline
    base: Any = None  # the state that it continues, taken out of the forecast's
    stages: Generator[object, None, None] = field(init=False)


class Engine:
    """Plays events into a timeline through an instrument. Not thread-safe: one thread owns it.

    ``play`` takes events, whose times are seconds on the timeline (render delay included); ``work`` does one piece of
    work and returns whether there was any.
    """

    def __init__(self, instrument: Instrument[Any], timeline: Timeline, settings: EngineSettings) -> None:
        self.instrument, self.timeline, self.settings = instrument, timeline, settings
        self.scores = [Score(KEPT_NOTES) for _ in settings.parts]
        self.counters = Counters()
        self.slack_samples = 0  # of the last revision: how much later it could have come
        self.took_s = 0.0  # from its beginning until its first splice
        self._revised_at = 0  # playhead of the last revision
        self._mean_s = 0.0  # of that time, lately
        self._finishing_s = 0.0  # mean time from a draft to what it is a draft of
        self._part_of = {channel: part for part, channels in enumerate(settings.parts) for channel in channels}
        self._resampler = Resampler(instrument.sample_rate_hz, settings.sample_rate_hz)
        # Model-rate audio by absolute sample, dry and for the reverberation: the resampler reads back from it.
        self._source = np.zeros((1 << 18, BUS_CHANNELS if settings.reverb else 1), np.float32)
        self._forecast: _Forecast | None = None
        self._changed_s = math.inf  # earliest event not yet in the forecast
        self._slice: Generator[object, None, None] | None = None  # the slice or its preparation in hand, between two of its stages
        self._revision: _Revision | None = None  # likewise

    def play(self, event: Event) -> None:
        """Take an event; the next ``work`` renders it."""
        self.counters.events += 1
        targets = self.scores if event.status >= 0xF0 else [self.scores[self._part_of[event.channel]]]
        changes = [score.apply(event) for score in targets]
        if any(changes):
            self._changed_s = min(self._changed_s, event.time_s)

    def discard(self, since_s: float) -> None:
        """Notes that began at or after ``since_s`` and have ended were played while nobody could hear: they never will be."""
        for score in self.scores:
            score.discard(since_s)

    def panic(self) -> None:
        """Nothing sounds any more, nothing waits, and nothing is in hand. Whoever plays has faded out."""
        for work in (self._revision.stages if self._revision else None, self._slice):
            if work is not None:
                work.close()
        self._revision = self._slice = self._forecast = None
        self._changed_s = math.inf
        for score in self.scores:
            score.panic(self.timeline.playhead / self.settings.sample_rate_hz)
        self.timeline.publish(self.timeline.playhead, silent=True)

    def forget(self) -> None:
        """Drop what neither a window nor its context can see any more; call it now and then, in silence too."""
        i = self.instrument
        seen_s = 2 * i.window_frames * i.hop_samples / i.sample_rate_hz
        now_s = self.timeline.playhead / self.settings.sample_rate_hz
        for score in self.scores:
            score.forget(now_s - seen_s - i.ring_s, now_s - CONTROLLERS_S)

    @property
    def unrendered_s(self) -> float:
        """The earliest event that is in the timeline in a draft at most."""
        return min(self._changed_s, self._revision.unfinished_s if self._revision else math.inf)

    def resume(self, scores: list[Score], unrendered_s: float) -> None:
        """Take over from an engine that died: what sounds goes on, ages and all, where the forecast that it left ends.

        Args:
            scores: what it knew.
            unrendered_s: from when on the forecast is not of that.
        """
        self.scores = scores
        solid_until = self.timeline.valid_until - self.settings.end_fade_samples
        now_s, end_s = (at / self.settings.sample_rate_hz for at in (self.timeline.playhead, solid_until))
        if not self._anything_sounds(now_s):
            self.timeline.publish(self.timeline.valid_until, silent=True)
        elif not self.timeline.silent or math.isfinite(unrendered_s):
            self._changed_s = max(now_s, min(unrendered_s, end_s))

    def work(self) -> bool:
        """One stage of an urgent revision or of a slice of forecast; False when there is nothing to do.

        Events that come while a revision has only just begun are taken into it, which begins again, if it will still be in
        time with something to spare; otherwise they wait. If it is heard already as a draft, they do not wait for its end
        unless there is time for that.
        """
        revision = self._revision
        if revision is None and not self._due:
            return self._extend()
        if revision is None:
            revision = self._begin(_Revision(self._changed_s, self._changed_s))
        elif self._joins(revision):
            revision.stages.close()
            if self._forecast is not None and revision.base is not None:
                self._forecast.states.append(revision.base)
            drafted = revision.spliced_s is not None
            self.counters.overtaken += drafted
            changed_s = self._changed_s if drafted else min(self._changed_s, revision.changed_s)
            revision = self._begin(_Revision(changed_s, min(changed_s, revision.unfinished_s)))
        try:
            next(revision.stages)
            revision.stage += 1
        except StopIteration:
            self._revision = None
            if revision.spliced_s is not None:
                self._finishing_s += 0.1 * (time.perf_counter() - revision.spliced_s - self._finishing_s)
        return True

    def _spare(self, changed_s: float) -> float:
        """Samples that are expected to be left when a revision that begins now is spliced in for what happens at ``changed_s``."""
        s = self.settings
        takes_s = TYPICAL * self._mean_s if self._timed else 0.0
        return self._fade_end(changed_s) - s.least_fade_samples - self._safe_from() - takes_s * s.sample_rate_hz

    def _joins(self, revision: _Revision) -> bool:
        """Whether what waits is taken into the revision in hand."""
        if not math.isfinite(self._changed_s):
            return False
        if revision.spliced_s is not None:
            s = self.settings
            spent_s = time.perf_counter() - revision.spliced_s
            left = max(0.0, self._finishing_s - spent_s) * s.sample_rate_hz
            behind = self._first_frame(self._safe_from()) - revision.base.next_frame
            return behind + s.urgent_frames <= s.most_frames and self._spare(self._changed_s) < self._reserve + left
        return revision.stage <= JOIN_STAGES and self._spare(min(self._changed_s, revision.changed_s)) >= self._reserve

    @property
    def _timed(self) -> bool:
        """Whether the timeline has a clock: where it has none, what work takes says nothing of how much is played meanwhile."""
        return self.timeline.clock() is not None

    @property
    def _should_last_s(self) -> float:
        """How much forecast there should be when a revision or a slice is begun; more on a slower machine."""
        return OUTLASTS * (self._mean_s + self._finishing_s) if self._timed else 0.0

    @property
    def _would_run_dry(self) -> bool:
        """Whether the forecast ends before the draft in hand could be finished and the one that waits for it spliced in."""
        if not self._timed or not self.waiting:
            return False
        ahead_s = (self.timeline.valid_until - self.timeline.playhead) / self.settings.sample_rate_hz
        return ahead_s < self._finishing_s + TYPICAL * self._mean_s

    @property
    def _reserve(self) -> float:
        """Samples that should be left over when a revision begins: not all take as long as is expected."""
        return self.settings.block_samples + PATIENCE_S * self.settings.sample_rate_hz

    @property
    def _due(self) -> bool:
        """Events wait, and it is time for their revision."""
        s = self.settings
        if not math.isfinite(self._changed_s):
            return False
        return s.eager or self._spare(self._changed_s) < self._reserve + s.lead_samples

    @property
    def urgent(self) -> bool:
        """A revision is in hand, or is due."""
        return self._revision is not None or self._due

    @property
    def waiting(self) -> bool:
        """Events wait for a revision that is not due yet."""
        return math.isfinite(self._changed_s)

    @property
    def asleep(self) -> bool:
        """Nothing sounds and nothing is computed."""
        return self._forecast is None

    # -- revision: score -> mel -> audio -> splice ---------------------------------------------------------------

    def _begin(self, revision: _Revision) -> _Revision:
        """A revision of all that waits."""
        self._changed_s = math.inf
        if self._slice is not None:
            self._slice.close()  # it knows nothing of the event
            self._slice = None
        revision.stages = self._revise(revision)
        self._revision = revision
        self.instrument.stopwatch.start()
        return revision

    def _revise(self, revision: _Revision) -> Generator[object, None, None]:
        """Render what the events change, from the first frame that still can be changed, a stage at a time."""
        s = self.settings
        start, _ = self._splice_place(revision.unfinished_s)
        if self._forecast is None and not self._anything_sounds(start / s.sample_rate_hz):
            return  # a pedal or program change in silence
        first = self._first_frame(start)
        forecast, state = self._state_at(first)
        revision.base = state
        first = state.next_frame
        frames = max(0, self._first_frame(start) - first) + s.urgent_frames
        if self._should_last_s > REVISION_LASTS_S:
            frames = max(frames, s.most_frames)
        revision.frames = frames
        yield from self._rendered(forecast, state, frames, s.drafts, lambda: self._first_splice(forecast, revision))
        if revision.spliced_s is None:
            self._first_splice(forecast, revision)
        else:
            start, fade_end = self._splice_place(revision.unfinished_s)
            if start > self._fade_end(revision.unfinished_s) - s.crossfade_samples:
                fade_end = start + s.crossfade_samples  # amid the sound, of which the draft is much alike
            self._write(forecast, start, fade_end)

    def _rendered(
        self, forecast: _Forecast, state: Any, frames: int, draft: bool, splice_draft: Callable[[], object]
    ) -> Generator[object, None, NDArray[np.float32]]:
        """All stages of the ``frames`` that follow ``state``, to the source buffer.

        A draft is spliced in as soon as it is there. Where it could not be finished while it lasts, since a window is to be prepared first,
        it is all there is: that is then done piece by piece, and an event in between takes away nothing but a piece.
        """
        performances = [score.performance for score in self.scores]
        unprepared = self.instrument.unprepared(state, frames) >= UNPREPARED_FRAMES
        stages = self.instrument.stages(performances, state, state.next_frame, frames, draft=draft)
        while True:
            try:
                sketch = next(stages)
            except StopIteration as stop:
                rendered, after = stop.value
                audio = self._put(forecast, rendered)
                break
            if sketch is not None:
                rendered, after = sketch
                audio = self._put(forecast, rendered)
                splice_draft()
                if unprepared or self._would_run_dry:
                    self.counters.kept_drafts += 1
                    break
            yield None
        self._remember(forecast, after)
        return audio

    def _first_splice(self, forecast: _Forecast, revision: _Revision) -> None:
        """What the events change comes into the timeline."""
        earliest = self._write(forecast, *self._splice_place(revision.changed_s))
        self.slack_samples = self._fade_end(revision.changed_s) - self.settings.least_fade_samples - earliest
        self.counters.revisions += 1
        self.counters.late_splices += self.slack_samples < 0
        self._revised_at = self.timeline.playhead
        revision.spliced_s = time.perf_counter()
        self.took_s = revision.spliced_s - revision.begun_s
        self._mean_s += 0.1 * (self.took_s - self._mean_s)
        ms = 1e3 * self.took_s, 1e3 * self.slack_samples / self.settings.sample_rate_hz
        log.debug(
            "revision for %.3f s, %d frames: took %.1f ms (%s), slack %.1f ms",
            revision.changed_s,
            revision.frames,
            ms[0],
            self.instrument.stopwatch,
            ms[1],
        )

    def _splice_place(self, changed_s: float) -> tuple[int, int]:
        """Where a splice for what happens at ``changed_s`` begins, and where its fade ends: in time if that still can be."""
        fade_end = self._fade_end(changed_s)
        start = max(fade_end - self.settings.crossfade_samples, self._safe_from())
        return start, max(fade_end, start + self.settings.least_fade_samples)

    def _fade_end(self, changed_s: float) -> int:
        """Where the splice for what happens at ``changed_s`` is over."""
        return round(changed_s * self.settings.sample_rate_hz) - self.settings.before_onset_samples

    def _safe_from(self) -> int:
        """The first sample that is not read while a splice there is written."""
        return self.timeline.safe_from(self.settings.block_samples, self.settings.guard_samples)

    def _first_frame(self, sample: int) -> int:
        """The first frame that reaches beyond a timeline sample: frames before it are known, it and later ones are not."""
        return first_frame_at(sample * self.instrument.sample_rate_hz / self.settings.sample_rate_hz, self.instrument)

    def _state_at(self, first: int) -> tuple[_Forecast, Any]:
        """The shortest state that has every frame before ``first``, or the longest there is; a fresh one after silence."""
        if self._forecast is None:
            self._forecast = _Forecast()
        forecast = self._forecast
        behind = [k for k, state in enumerate(forecast.states) if state.next_frame >= first >= state.origin]
        if behind:
            state = self.instrument.with_caches(forecast.states[behind[0]], forecast.states[-1])
            del forecast.states[behind[0] :]
            return forecast, self.instrument.rewind(state, first)  # nobody holds what comes later: its room is free
        if forecast.states and forecast.states[-1].next_frame < first:
            return forecast, forecast.states[-1]
        forecast.states.clear()
        fresh = self.instrument.start(first, len(self.scores))
        lookahead = self.instrument.lookahead_frames * self.instrument.hop_samples
        forecast.source_end = first * self.instrument.hop_samples - lookahead
        self._put_source(forecast.source_end - self._resampler.reach, np.zeros((self._resampler.reach, self._source.shape[1]), np.float32))
        return forecast, fresh

    def _put(self, forecast: _Forecast, rendered: Rendered) -> NDArray[np.float32]:
        """What was rendered goes to the source buffer; returns the audio (samples, 1)."""
        mono = rendered.audio.sum(0)[:, None]
        at = rendered.first_hop * self.instrument.hop_samples
        bus = np.concatenate((mono, self._to_room(rendered, at)), 1) if self.settings.reverb else mono
        self._put_source(at, bus)
        forecast.source_end = at + len(mono)
        return mono

    def _remember(self, forecast: _Forecast, after: Any) -> None:
        """The state after what was rendered goes to the states."""
        if forecast.states:
            forecast.states[-1] = self.instrument.without_caches(forecast.states[-1])
        forecast.states.append(after)

    def _to_room(self, rendered: Rendered, at: int) -> NDArray[np.float32]:
        """What of the audio from source sample ``at`` on goes to the reverberation, (samples, 1)."""
        i = self.instrument
        parts = [
            to_room(audio, score.performance, at, i.hop_samples, i.sample_rate_hz)
            for audio, score in zip(rendered.audio, self.scores, strict=True)
        ]
        return np.sum(parts, 0)[:, None]

    def _write(self, forecast: _Forecast, start: int, fade_end: int) -> int:
        """Splice the source from timeline sample ``start`` to its end: crossfaded in until ``fade_end``, ending in a written fade.

        Rendering took time: a splice that has become too early begins later and fades faster. Returns where it could have
        begun at the earliest.
        """
        s, end = self.settings, self._resampler.ready(forecast.source_end)
        audio = self._resampled(start, end) if start < end else np.zeros((0, BUS_CHANNELS), np.float32)
        audio = fade_out(audio, s.end_fade_samples)
        earliest = self._safe_from()
        begin = max(start, earliest)
        audio = audio[begin - start :]
        if not len(audio):
            return earliest
        if begin > start or fade_end > start:
            fade = min(len(audio), max(s.least_fade_samples, fade_end - begin))
            audio[:fade] = crossfade(self.timeline.read(begin, fade), audio[:fade])
        forecast.solid_until = end - min(s.end_fade_samples, len(audio))
        if self.timeline.valid_until > end:
            self.timeline.publish(end, silent=False)  # what lies behind is stale
        gap = max(self.timeline.valid_until, self.timeline.playhead)
        if gap < begin:  # silence lies between: the buffer there still holds what was
            self.timeline.write(gap, np.zeros((begin - gap, BUS_CHANNELS), np.float32))
        self.timeline.write(begin, audio)
        self.timeline.publish(end, silent=False)
        self.instrument.stopwatch.lap("splice")
        return earliest

    # -- forecast: the rest, in slices ---------------------------------------------------------------------------

    def _extend(self) -> bool:
        """Continue the forecast by one stage of a slice, or find that the sound has ended."""
        forecast, s = self._forecast, self.settings
        if forecast is None:
            self._slice = None
            return False
        if self._slice is not None:
            try:
                next(self._slice)
            except StopIteration:
                self._slice = None
            return True
        playhead = self.timeline.playhead
        if self.timeline.silent:
            if playhead >= self.timeline.valid_until:
                self._forecast = None
            return False
        ahead_s = (forecast.solid_until - playhead) / s.sample_rate_hz
        state, performances = forecast.states[-1], [score.performance for score in self.scores]
        # First what the next slice needs, then what slices will need soon; all that, only while there is time for it.
        for frames in () if ahead_s < SCARCE_S else (s.slice_frames, s.slice_frames + s.prepared_frames):
            preparation = self.instrument.prepare(performances, state, frames)
            if preparation is not None:
                self._slice = self._prepare(forecast, preparation)
                return True
        calm = playhead - self._revised_at > CALM_S * s.sample_rate_hz
        if ahead_s >= (s.forecast_s if calm else min(s.forecast_s, BUSY_FORECAST_S)):
            return False
        scarce = ahead_s < max(SCARCE_S, self._should_last_s)
        self._slice = self._slice_stages(forecast, state, draft=scarce and s.drafts)
        return True

    @staticmethod
    def _prepare(forecast: _Forecast, preparation: Preparation[Any]) -> Generator[object, None, None]:
        """What slices will need, likewise."""
        forecast.states[-1] = yield from preparation

    def _slice_stages(self, forecast: _Forecast, state: Any, draft: bool) -> Generator[object, None, None]:
        """A slice, a few milliseconds at a time; unless it begins with a draft, nothing of it is in the timeline before the last of them."""
        s = self.settings
        begin = forecast.solid_until
        audio = yield from self._rendered(forecast, state, s.slice_frames, draft, lambda: self._append(forecast, begin))
        yield None
        over = self._is_over(forecast, audio)
        if forecast.solid_until > begin:  # a draft is there
            start = max(begin, self._safe_from())
            self._write(forecast, start, start if start == begin else start + s.crossfade_samples)
        else:
            self._append(forecast, begin)
        if over:
            self.timeline.publish(self.timeline.valid_until, silent=True)
        self.counters.slices += 1
        self._prune(forecast)

    def _append(self, forecast: _Forecast, begin: int) -> None:
        """Go on from timeline sample ``begin`` where the end fade begins; if part of that has been heard, fade in again."""
        start = fade_end = begin
        earliest = self._safe_from()
        if start < earliest:
            self.counters.stale_fades += 1
            log.debug("the forecast ended at sample %d, it is faded in again at %d", start, earliest)
            start, fade_end = earliest, earliest + self.settings.crossfade_samples
        self._write(forecast, start, fade_end)

    def _is_over(self, forecast: _Forecast, audio: NDArray[np.float32]) -> bool:
        """No note is held, and all have rung out: by the clock, or by the level of the last slice."""
        now_s = forecast.source_end / self.instrument.sample_rate_hz
        ends = [n.end_s for score in self.scores for n in score.performance.notes]
        last_s = max(ends, default=-math.inf)
        return last_s + self.instrument.ring_s < now_s or (last_s < now_s - 0.1 and float(np.abs(audio).max()) < SILENCE)

    def _anything_sounds(self, from_s: float) -> bool:
        """Whether any note is to be heard at or after ``from_s``."""
        notes = (n for score in self.scores for n in score.performance.notes)
        return any(n.end_s + self.instrument.ring_s > from_s for n in notes)

    def _prune(self, forecast: _Forecast) -> None:
        """Drop states that no revision can need: all but the last of those before the playhead."""
        heard = self._first_frame(self.timeline.playhead)
        while len(forecast.states) > 1 and forecast.states[0].next_frame < heard:
            forecast.states.pop(0)

    # -- the source buffer ---------------------------------------------------------------------------------------

    def _put_source(self, at: int, audio: NDArray[np.float32]) -> None:
        index = np.arange(at, at + len(audio)) % len(self._source)
        self._source[index] = audio

    def _resampled(self, first: int, last: int) -> NDArray[np.float32]:
        """Timeline samples [first, last) from the source, (samples, BUS_CHANNELS)."""
        low, high = self._resampler.needs(first, last)
        audio = self._resampler.apply(self._source[np.arange(low, high) % len(self._source)], first, last)
        return audio if self.settings.reverb else np.pad(audio, ((0, 0), (0, BUS_CHANNELS - 1)))


def settings_for(
    sample_rate_hz: int, block_size: int, crossfade_ms: float, forecast_s: float, parts: int, reverb: bool = False
) -> EngineSettings:
    """Settings for an output stream; channels are dealt to parts in turn."""
    samples = sample_rate_hz / 1000
    return EngineSettings(
        sample_rate_hz=sample_rate_hz,
        block_samples=block_size,
        guard_samples=round(samples),
        crossfade_samples=round(crossfade_ms * samples),
        least_fade_samples=round(samples),
        before_onset_samples=round(samples),
        end_fade_samples=round(30 * samples),
        forecast_s=forecast_s,
        parts=tuple(frozenset(range(part, CHANNELS, parts)) for part in range(parts)),
        reverb=reverb,
    )
