"""Offline rendering: a MIDI file goes through the same stages as live playing, a stretch at a time.

As in live playing, the score gets each event when the stretches reach it. So the cost of rendering depends on how much sounds at a time,
and not on the length of the song.
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

from specdiffd.base.events import Event, Performance
from specdiffd.base.formats import first_frame_at
from specdiffd.base.instrument import Instrument, render
from specdiffd.base.messages import NOTE_ON
from specdiffd.dsp.files import Silence, array_file, sound_file
from specdiffd.dsp.limiter import peak
from specdiffd.dsp.output_chain import BLOCK, Audio, Pieces, finished
from specdiffd.dsp.resample import Resampler
from specdiffd.dsp.reverb import to_room
from specdiffd.instruments.published import PublishedInstrument
from specdiffd.midi.file import read_song
from specdiffd.midi.published import published_performance
from specdiffd.midi.score import Score
from specdiffd.midi.voices import KEPT_NOTES
from specdiffd.player.ringing import SILENCE, forget, is_over

STRETCH_FRAMES = 64  # as many as the networks are compiled for; fewer cost more per frame
MEL_ROWS = 4096  # of silence that are written at a time


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
    """What is done with the instrument's audio."""

    sample_rate_hz: int | None = None  # None: the instrument's
    gain: float = 1.0
    reverb: float = 0.0  # level of the room, 0 to 1; with it the audio is stereo


class RenderResult(NamedTuple):
    """A finished rendering."""

    path: Path
    duration_s: float
    elapsed_s: float
    peak: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of compute per second of audio."""
        return self.elapsed_s / max(self.duration_s, 1e-9)


def open_song(instrument: Instrument[Any], path: Path, strict: bool = False) -> Rendering:
    """A MIDI file that is ready to be rendered. For published instruments it is read as the public code reads it.

    Raises:
        MidiFileError: it cannot be read.
    """
    song = read_song(path, strict)
    if isinstance(instrument, PublishedInstrument):
        return Rendering(_published_stretches(instrument, published_performance(path)), song.end_s, song.warnings)
    return Rendering(stretches(instrument, song.events), song.end_s, song.warnings)


def stretches(instrument: Instrument[Any], events: Iterable[Event]) -> Iterator[Stretch]:
    """The parts of a song that sound, in order; silence is left out.

    Args:
        events: in order of time; all notes must end.
    """
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
    """Apply the events before the next note. Returns the note's onset; None if there is none."""
    while waiting and not (waiting[0].kind == NOTE_ON and waiting[0].data2 > 0):
        score.apply(waiting.popleft())
    return waiting[0].time_s if waiting else None


def _apply_until(score: Score, waiting: deque[Event], until_s: float) -> None:
    while waiting and waiting[0].time_s < until_s:
        score.apply(waiting.popleft())


def _published_stretches(instrument: PublishedInstrument, performance: Performance) -> Iterator[Stretch]:
    """The stretches of a published instrument, which renders whole windows."""
    frame = 0
    for first, audio, mel in instrument.song(performance):
        yield Stretch(first, _with_room(audio.numpy(), performance, first, instrument), frame, mel.numpy())
        frame += len(mel)


def _with_room(dry: Audio, performance: Performance, at: int, i: Instrument[Any]) -> Audio:
    """Audio (samples,) from the instrument's sample ``at`` on, and what of it goes to the room: (samples, 2)."""
    return np.stack((dry, to_room(dry, performance, at, i.hop_samples, i.sample_rate_hz)), 1)


def render_file(
    instrument: Instrument[Any],
    song: Rendering,
    path: Path,
    settings: RenderSettings | None = None,
    progress: Callable[[float], None] = lambda seconds: None,
    mel_path: Path | None = None,
) -> RenderResult:
    """Render to a sound file. It ends with the song or where the last release has died away, whichever is later.

    Args:
        instrument: the one that the song was opened with.
        song: is used up.
        path: its suffix names the format; ``-`` is standard output, as WAV.
        settings: rate, gain and room.
        progress: called with the seconds of audio done.
        mel_path: gets the log mel (1, frames, mel_bins) as a .npy file.

    Raises:
        SpecdiffdError: a file cannot be written.
    """
    rate_hz, gain, reverb = settings or RenderSettings()
    rate, channels = rate_hz or instrument.sample_rate_hz, 2 if reverb else 1
    started = time.perf_counter()
    most = math.ceil((song.end_s + instrument.ring_s + BLOCK) * rate)
    with ExitStack() as stack:
        source = song.stretches
        if mel_path is not None:
            source = stack.enter_context(_mel_kept(source, instrument, mel_path))
        dry_and_room = ((stretch.first_sample, stretch.audio) for stretch in source)
        file = stack.enter_context(sound_file(path, rate, channels, most))
        pieces = finished(dry_and_room, Resampler(instrument.sample_rate_hz, rate), rate, gain, reverb)
        loudest = _write(file, channels, pieces, round(song.end_s * rate), lambda samples: progress(samples / rate))
        duration_s = file.frames / rate
    return RenderResult(path, duration_s, time.perf_counter() - started, loudest)


def _write(file: Any, channels: int, pieces: Pieces, end: int, progress: Callable[[int], None]) -> float:
    """Write pieces and the silence between them: up to the last audible sample, or to sample ``end`` if that is later.

    Returns:
        The peak.
    """
    silence, loudest, written = Silence(channels), 0.0, 0
    for first, audio in pieces:
        audible = np.flatnonzero(np.abs(audio).max(1) > SILENCE)
        if len(audible):
            silence.write(file, first - written)
            file.write(audio[: audible[-1] + 1])
            written, loudest = first + int(audible[-1]) + 1, max(loudest, peak(audio))
        progress(first + len(audio))
    silence.write(file, end - written)
    return loudest


@contextmanager
def _mel_kept(source: Iterator[Stretch], instrument: Any, path: Path) -> Iterator[Iterator[Stretch]]:
    """The same stretches, whose mel also goes to a file. Where none is rendered, the file has the log floor."""
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
