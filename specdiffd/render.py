"""Offline: a MIDI file through the same stages as live playing, a stretch at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specdiffd.audio.resample import Resampler
from specdiffd.audio.reverb import Reverb, to_room
from specdiffd.engine import SILENCE
from specdiffd.errors import SpecdiffdError, UsageError
from specdiffd.events import Performance
from specdiffd.instrument import Instrument, render
from specdiffd.published import PublishedInstrument

STRETCH_FRAMES = 64
ROOM_BLOCK = 1024  # samples
Audio = NDArray[np.float32]


class Stretch(NamedTuple):
    """Consecutive audio at the instrument's rate, and mel frames, which come earlier by the vocoder's lookahead."""

    first_sample: int
    audio: Audio  # (samples,)
    first_frame: int
    mel: Audio  # (frames, mel_bins) natural log


def find_songs(paths: Sequence[Path]) -> list[Path]:
    """MIDI files, those in folders (at any depth) included.

    Raises:
        UsageError: a path does not exist, or a folder holds no MIDI file.
    """
    songs: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".mid", ".midi", ".kar"))
            if not inside:
                raise UsageError(f"no MIDI files in {path}")
            songs += inside
        elif path.exists():
            songs.append(path)
        else:
            raise UsageError(f"{path} does not exist")
    return songs


def output_paths(songs: Sequence[Path], output: Path | None) -> list[Path]:
    """Where each song's WAV file goes: beside it, into a folder, or to the one file named.

    Raises:
        UsageError: several songs for one file, or two songs that would overwrite each other.
    """
    if output is not None and output.suffix.lower() == ".wav" and not output.is_dir():
        if len(songs) > 1:
            raise UsageError(f"{len(songs)} songs cannot all go to {output}: name a folder")
        return [output]
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    paths = [(output or song.parent) / f"{song.stem}.wav" for song in songs]
    for path in paths:
        if paths.count(path) > 1:
            raise UsageError(f"two songs would be written to {path}: render them to different folders")
    return paths


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


def stretches(instrument: Instrument[Any], performance: Performance) -> Iterator[Stretch]:
    """The sounding parts of a performance in order, silence left out; memory does not grow with its length."""
    if isinstance(instrument, PublishedInstrument):  # it has windows of its own
        frame = 0
        for first, audio, mel in instrument.song(performance):
            yield Stretch(first, audio.numpy(), frame, mel.numpy())
            frame += len(mel)
        return
    i = instrument
    frame_s = i.hop_samples / i.sample_rate_hz
    waiting = sorted(performance.notes, key=lambda n: n.onset_s)
    index, ends_s = 0, -math.inf
    while index < len(waiting):
        at = math.floor((waiting[index].onset_s * i.sample_rate_hz - i.window_samples) / i.hop_samples + 1e-6) + 1
        state = i.start(at, 1)
        over = False
        while not over:
            rendered, state = render(i, [_around(performance, at, frame_s, i)], state, at, STRETCH_FRAMES)
            frames = np.zeros((0, 0), np.float32) if rendered.mel is None else rendered.mel[0].float().cpu().numpy()
            yield Stretch(rendered.first_hop * i.hop_samples, rendered.audio.sum(0), at, frames)
            at += STRETCH_FRAMES
            now_s = (at - i.lookahead_frames) * frame_s
            while index < len(waiting) and waiting[index].onset_s < at * frame_s + i.window_samples / i.sample_rate_hz:
                ends_s = max(ends_s, min(waiting[index].offset_s, waiting[index].choke_s))
                index += 1
            quiet = float(np.abs(rendered.audio).max()) < SILENCE
            over = ends_s + i.ring_s < now_s or (quiet and ends_s < now_s - 0.1)


def _around(performance: Performance, at: int, frame_s: float, i: Instrument[Any]) -> Performance:
    """Only the notes that the window or a release can show: what each stretch costs does not depend on the song's length."""
    early_s, late_s = (at - 2 * i.window_frames) * frame_s - i.ring_s, (at + i.window_frames) * frame_s
    notes = [n for n in performance.notes if n.onset_s < late_s and min(n.offset_s, n.choke_s) > early_s]
    return Performance(notes, performance.controllers)


def render_file(
    instrument: Instrument[Any],
    performance: Performance,
    path: Path,
    sample_rate_hz: int | None = None,
    gain: float = 1.0,
    progress: Callable[[float], None] = lambda seconds: None,
    mel_path: Path | None = None,
    reverb: float = 0.0,
) -> RenderResult:
    """Render to a WAV file that ends where the last release has died away.

    Args:
        sample_rate_hz: of the file; None: the instrument's.
        progress: called with the seconds of audio done.
        mel_path: gets the log mel (1, frames, mel_bins) as a .npy file; all of it is held in memory.
        reverb: level of the room, 0 to 1; with it the file is stereo.

    Raises:
        SpecdiffdError: the file cannot be written.
    """
    import soundfile

    rate = sample_rate_hz or instrument.sample_rate_hz
    resampler = Resampler(instrument.sample_rate_hz, rate)
    started, peak, written = time.perf_counter(), 0.0, 0
    held_back: list[Audio] = []  # silence is only written when sound follows it
    try:
        channels = 2 if reverb else 1
        with soundfile.SoundFile(path, "w", rate, channels, "PCM_16", format="WAV") as file:
            mels: list[Stretch] = []
            source = stretches(instrument, performance)
            dry = _resampled(source if mel_path is None else _kept(source, mels), resampler)
            for first, audio in _in_a_room(dry, performance, rate, reverb) if reverb else ((at, mono[:, None]) for at, mono in dry):
                held_back.append(np.zeros((max(0, first - written), channels), np.float32))
                written = first + len(audio)
                audio = np.clip(audio * gain, -1, 1)
                loud = np.flatnonzero(np.abs(audio).max(1) > SILENCE)
                if len(loud):
                    file.write(np.concatenate([*held_back, audio[: loud[-1] + 1]]))
                    peak, held_back = max(peak, float(np.abs(audio).max())), [audio[loud[-1] + 1 :]]
                else:
                    held_back.append(audio)
                progress(written / rate)
            duration_s = file.frames / rate
        if mel_path is not None:
            np.save(mel_path, _whole_mel(mels)[None])
    except (OSError, RuntimeError) as error:
        raise SpecdiffdError(f"cannot write {path}: {error}") from error
    return RenderResult(path, duration_s, time.perf_counter() - started, peak)


def _in_a_room(source: Iterator[tuple[int, Audio]], performance: Performance, rate: int, level: float) -> Iterator[tuple[int, Audio]]:
    """Stretches of sound with the room around them, stereo, until it is silent again."""
    room = Reverb(rate, ROOM_BLOCK, level)
    pending, at = np.zeros(0, np.float32), 0

    def block(dry: Audio) -> tuple[int, Audio]:
        return at, dry[:, None] + room.process(to_room(dry, performance, at, ROOM_BLOCK, rate))

    for first, audio in source:
        pending = np.concatenate((pending, np.zeros(max(0, first - at - len(pending)), np.float32), audio))
        while len(pending) >= ROOM_BLOCK:
            yield block(pending[:ROOM_BLOCK])
            pending, at = pending[ROOM_BLOCK:], at + ROOM_BLOCK
    while len(pending) or not room.quiet:
        yield block(np.pad(pending, (0, ROOM_BLOCK - len(pending))))
        pending, at = pending[:0], at + ROOM_BLOCK


def _kept(source: Iterator[Stretch], into: list[Stretch]) -> Iterator[Stretch]:
    for stretch in source:
        into.append(stretch._replace(audio=stretch.audio[:0]))
        yield stretch


def _whole_mel(stretches: Sequence[Stretch]) -> Audio:
    """The frames of a song, silence (the lowest value there is) where none were rendered."""
    there = [s for s in stretches if len(s.mel)]
    if not there:
        return np.zeros((0, 0), np.float32)
    frames, bins = max(s.first_frame + len(s.mel) for s in there), there[0].mel.shape[1]
    mel = np.full((frames, bins), min(float(s.mel.min()) for s in there), np.float32)
    for s in there:
        early = max(0, -s.first_frame)
        mel[s.first_frame + early : s.first_frame + len(s.mel)] = s.mel[early:]
    return mel


def _resampled(source: Iterator[Stretch], resampler: Resampler) -> Iterator[tuple[int, Audio]]:
    """Stretches at another rate: (first sample, audio) in order, nothing before sample 0."""
    pending, start, done = np.zeros(0, np.float32), 0, 0
    for first, audio, *_ in source:
        if first != start + len(pending):
            if len(pending):
                yield from _flush(pending, start, done, resampler)
            pending, start = np.zeros(resampler.reach, np.float32), first - resampler.reach
            done = max(0, resampler.ready(first))
        pending = np.concatenate((pending, audio))
        ready = resampler.ready(start + len(pending))
        if ready > done:
            low, high = resampler.needs(done, ready)
            yield done, resampler.apply(_slice(pending, start, low, high)[:, None], done, ready)[:, 0]
            keep = resampler.needs(ready, ready + 1)[0] - start
            pending, start, done = pending[max(0, keep) :], start + max(0, keep), ready
    if len(pending):
        yield from _flush(pending, start, done, resampler)


def _flush(pending: Audio, start: int, done: int, resampler: Resampler) -> Iterator[tuple[int, Audio]]:
    end = resampler.ready(start + len(pending) + resampler.reach)
    if end > done:
        low, high = resampler.needs(done, end)
        yield done, resampler.apply(_slice(pending, start, low, high)[:, None], done, end)[:, 0]


def _slice(audio: Audio, start: int, low: int, high: int) -> Audio:
    """Samples [low, high) of ``audio``, which begins at ``start``; zeros outside."""
    inside = audio[max(0, low - start) : max(0, high - start)]
    return np.pad(inside, (max(0, start - low), high - low - len(inside) - max(0, start - low)))
