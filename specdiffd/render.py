"""Offline: a MIDI file through the same stages as live playing, a stretch at a time.

The score learns of events as the stretches reach them, as it does live: what rendering costs depends on how much sounds at a time,
and not on how long the song is.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.events import Event, Performance
from specdiffd.base.formats import first_frame_at
from specdiffd.base.instrument import Instrument, render
from specdiffd.base.messages import NOTE_ON
from specdiffd.dsp.files import Silence, array_file, sound_file
from specdiffd.dsp.limiter import Limiter, peak
from specdiffd.dsp.resample import Resampler
from specdiffd.dsp.reverb import Reverb, to_room
from specdiffd.instruments.published import PublishedInstrument
from specdiffd.midi.file import read_song
from specdiffd.midi.published import published_performance
from specdiffd.midi.score import KEPT_NOTES, Score
from specdiffd.player.ringing import SILENCE, forget, is_over

STRETCH_FRAMES = 64
BLOCK = 1024  # samples that the room and the limiter work on
MEL_ROWS = 4096  # of silence at a time
Audio = NDArray[np.float32]


class Stretch(NamedTuple):
    """Consecutive audio at the instrument's rate, and mel frames, which come earlier by the vocoder's lookahead."""

    first_sample: int
    audio: Audio  # (samples, 2): dry, and what of it goes to the room
    first_frame: int
    mel: Audio  # (frames, mel_bins) natural log


class Rendering(NamedTuple):
    """A song on its way through an instrument."""

    stretches: Iterator[Stretch]
    end_s: float  # of the song: it lasts until its last event
    warnings: list[str]


class RenderSettings(NamedTuple):
    """What becomes of the instrument's audio."""

    sample_rate_hz: int | None = None  # None: the instrument's
    gain: float = 1.0
    reverb: float = 0.0  # level of the room, 0 to 1; with it the audio is stereo


class RenderResult(NamedTuple):
    """What a rendering was."""

    path: Path
    duration_s: float
    elapsed_s: float
    peak: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of compute per second of audio."""
        return self.elapsed_s / max(self.duration_s, 1e-9)


def open_song(instrument: Instrument[Any], path: Path, strict: bool = False) -> Rendering:
    """A MIDI file's rendering. Published instruments read files as the public code does.

    Raises:
        MidiFileError: it cannot be read.
    """
    song = read_song(path, strict)
    if isinstance(instrument, PublishedInstrument):
        return Rendering(_published_stretches(instrument, published_performance(path)), song.end_s, song.warnings)
    return Rendering(stretches(instrument, song.events), song.end_s, song.warnings)


def stretches(instrument: Instrument[Any], events: Iterable[Event]) -> Iterator[Stretch]:
    """The sounding parts of what ``events`` play, in order, silence left out. They must let go of all notes."""
    i, score, waiting = instrument, Score(KEPT_NOTES), deque(events)
    frame_s, window_s = i.hop_samples / i.sample_rate_hz, i.window_samples / i.sample_rate_hz
    while (onset_s := _next_onset(score, waiting)) is not None:
        at = first_frame_at(onset_s * i.sample_rate_hz, i)
        state = i.start(at, 1)
        over = False
        while not over:
            _apply_until(score, waiting, (at + STRETCH_FRAMES - 1) * frame_s + window_s)
            rendered, state = render(i, [score.performance], state, at, STRETCH_FRAMES)
            frames = np.zeros((0, 0), np.float32) if rendered.mel is None else rendered.mel[0].float().cpu().numpy()
            first = rendered.first_hop * i.hop_samples
            yield Stretch(first, _with_room(rendered.audio.sum(0), score.performance, first, i), at, frames)
            at += STRETCH_FRAMES
            now_s = (at - i.lookahead_frames) * frame_s
            over = is_over([score.performance], now_s, peak(rendered.audio), i.ring_s)
            forget(score, i, now_s)


def _next_onset(score: Score, waiting: deque[Event]) -> float | None:
    """What comes before the next note is applied; None: no note comes any more."""
    while waiting and not (waiting[0].kind == NOTE_ON and waiting[0].data2 > 0):
        score.apply(waiting.popleft())
    return waiting[0].time_s if waiting else None


def _apply_until(score: Score, waiting: deque[Event], until_s: float) -> None:
    while waiting and waiting[0].time_s < until_s:
        score.apply(waiting.popleft())


def _published_stretches(instrument: PublishedInstrument, performance: Performance) -> Iterator[Stretch]:
    """A published instrument's, which has windows of its own."""
    frame = 0
    for first, audio, mel in instrument.song(performance):
        yield Stretch(first, _with_room(audio.numpy(), performance, first, instrument), frame, mel.numpy())
        frame += len(mel)


def _with_room(dry: Audio, performance: Performance, at: int, i: Instrument[Any]) -> Audio:
    """Audio (samples,) from source sample ``at`` on, beside what of it goes to the room: (samples, 2)."""
    return np.stack((dry, to_room(dry, performance, at, i.hop_samples, i.sample_rate_hz)), 1)


def render_file(
    instrument: Instrument[Any],
    song: Rendering,
    path: Path,
    settings: RenderSettings | None = None,
    progress: Callable[[float], None] = lambda seconds: None,
    mel_path: Path | None = None,
) -> RenderResult:
    """Render to a sound file, which ends with the song or where the last release has died away, whichever is later.

    Args:
        instrument: that the song was opened with.
        song: is used up.
        path: whose suffix names the format; ``-`` is standard output, as WAV.
        settings: rate, gain and room.
        progress: called with the seconds of audio done.
        mel_path: gets the log mel (1, frames, mel_bins) as a .npy file.

    Raises:
        SpecdiffdError: a file cannot be written.
    """
    given = settings or RenderSettings()
    rate, channels = given.sample_rate_hz or instrument.sample_rate_hz, 2 if given.reverb else 1
    started, loudest, written = time.perf_counter(), 0.0, 0
    most = math.ceil((song.end_s + instrument.ring_s + BLOCK) * rate)
    with ExitStack() as stack:
        source = song.stretches
        if mel_path is not None:
            source = stack.enter_context(_mel_kept(source, instrument, mel_path))
        file, silence = stack.enter_context(sound_file(path, rate, channels, most)), Silence(channels)
        for first, audio in _finished(source, Resampler(instrument.sample_rate_hz, rate), rate, given):
            loud = np.flatnonzero(np.abs(audio).max(1) > SILENCE)
            if len(loud):
                silence.write(file, first - written)
                file.write(audio[: loud[-1] + 1])
                written, loudest = first + int(loud[-1]) + 1, max(loudest, peak(audio))
            progress((first + len(audio)) / rate)
        silence.write(file, round(song.end_s * rate) - written)
        duration_s = file.frames / rate
    return RenderResult(path, duration_s, time.perf_counter() - started, loudest)


def _finished(source: Iterator[Stretch], resampler: Resampler, rate: int, settings: RenderSettings) -> Iterator[tuple[int, Audio]]:
    """What is put out: (first sample, audio (samples, channels)), silence left out."""
    bus = _in_blocks(_resampled(source, resampler))
    audio = _in_a_room(bus, rate, settings.reverb) if settings.reverb else ((at, block[:, :1]) for at, block in bus)
    return _limited(((at, settings.gain * block) for at, block in audio), rate)


def _in_blocks(source: Iterator[tuple[int, Audio]]) -> Iterator[tuple[int, Audio]]:
    """The same audio in pieces of ``BLOCK`` samples that begin at its multiples, zeros where there is none beside some."""
    pending, at = np.zeros((0, 2), np.float32), 0
    for first, audio in source:
        if first > at + len(pending) + BLOCK:  # a gap: the block before it is filled up
            if len(pending):
                yield at, np.pad(pending, ((0, BLOCK - len(pending)), (0, 0)))
            pending, at = pending[:0], first // BLOCK * BLOCK
        pending = np.concatenate((pending, np.zeros((first - at - len(pending), 2), np.float32), audio))
        while len(pending) >= BLOCK:
            yield at, pending[:BLOCK]
            pending, at = pending[BLOCK:], at + BLOCK
    if len(pending):
        yield at, np.pad(pending, ((0, BLOCK - len(pending)), (0, 0)))


def _in_a_room(source: Iterator[tuple[int, Audio]], rate: int, level: float) -> Iterator[tuple[int, Audio]]:
    """Blocks of sound with the room around them, stereo, until it is silent again."""
    room, at = Reverb(rate, BLOCK, level), 0
    for first, block in source:
        while at < first and not room.quiet:
            yield at, room.process(np.zeros(BLOCK, np.float32))
            at += BLOCK
        yield first, block[:, :1] + room.process(block[:, 1])
        at = first + BLOCK
    while not room.quiet:
        yield at, room.process(np.zeros(BLOCK, np.float32))
        at += BLOCK


def _limited(source: Iterator[tuple[int, Audio]], rate: int) -> Iterator[tuple[int, Audio]]:
    """Blocks without peaks over the limiter's ceiling; it looks one block ahead."""
    limiter, held = Limiter(rate), next(source, None)
    while held is not None:
        first, audio = held
        held = next(source, None)
        limiter.apply(audio, audio[:0] if held is None else held[1])
        yield first, audio


@contextmanager
def _mel_kept(source: Iterator[Stretch], instrument: Any, path: Path) -> Iterator[Iterator[Stretch]]:
    """The same stretches; their mel goes to a file, which has the floor where none were rendered."""
    fmt = instrument.format
    with array_file(path, fmt.mel_bins) as write:
        yield _with_mel_written(source, write, np.full((MEL_ROWS, fmt.mel_bins), fmt.log_floor, np.float32))


def _with_mel_written(source: Iterator[Stretch], write: Callable[[Audio], object], floor: Audio) -> Iterator[Stretch]:
    done = 0
    for stretch in source:
        for first in range(done, stretch.first_frame, len(floor)):
            write(floor[: stretch.first_frame - first])
        write(stretch.mel[max(0, -stretch.first_frame) :])
        done = stretch.first_frame + len(stretch.mel)
        yield stretch


def _resampled(source: Iterator[Stretch], resampler: Resampler) -> Iterator[tuple[int, Audio]]:
    """Stretches at another rate: (first sample, audio (samples, 2)) in order, nothing before sample 0."""
    pending, start, done = np.zeros((0, 2), np.float32), 0, 0
    for first, audio, *_ in source:
        if first != start + len(pending):
            if len(pending):
                yield from _flush(pending, start, done, resampler)
            pending, start = np.zeros((resampler.reach, 2), np.float32), first - resampler.reach
            done = max(0, resampler.ready(first))
        pending = np.concatenate((pending, audio))
        ready = resampler.ready(start + len(pending))
        if ready > done:
            low, high = resampler.needs(done, ready)
            yield done, resampler.apply(_slice(pending, start, low, high), done, ready)
            keep = resampler.needs(ready, ready + 1)[0] - start
            pending, start, done = pending[max(0, keep) :], start + max(0, keep), ready
    if len(pending):
        yield from _flush(pending, start, done, resampler)


def _flush(pending: Audio, start: int, done: int, resampler: Resampler) -> Iterator[tuple[int, Audio]]:
    end = resampler.ready(start + len(pending) + resampler.reach)
    if end > done:
        low, high = resampler.needs(done, end)
        yield done, resampler.apply(_slice(pending, start, low, high), done, end)


def _slice(audio: Audio, start: int, low: int, high: int) -> Audio:
    """Samples [low, high) of ``audio``, which begins at ``start``; zeros outside."""
    inside = audio[max(0, low - start) : max(0, high - start)]
    before = max(0, start - low)
    return np.pad(inside, ((before, high - low - len(inside) - before), (0, 0)))
