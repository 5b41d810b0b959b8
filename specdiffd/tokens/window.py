"""A window of a performance as token ids (arXiv 2206.05408, section 3.2; MT3's note encoding with ties)."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from specdiffd.base.events import Performance
from specdiffd.base.formats import MelFormat
from specdiffd.tokens.codec import EOS, Codec


class WindowTokens(NamedTuple):
    """Ids of one window, and for each the time of its event (minus infinity for ties, plus infinity for the end mark)."""

    ids: list[int]
    times_s: list[float]
    dropped_events: int = 0


def window_tokens(performance: Performance, start_s: float, end_s: float, codec: Codec) -> WindowTokens:
    """Tokens of the events in [start_s, end_s), before them the notes held over from earlier (ties).

    If there are more tokens than the codec's maximum, the ties and the newest events that fit are kept; dropped events are counted.
    """
    events = _events(performance, codec)
    first, last = codec.steps(start_s), codec.steps(end_s)
    low, high = (bisect_left(events, edge, key=lambda e: codec.steps(e.time_s)) for edge in (first, last))
    held = _Held()
    held.play(events[:low])
    return _write(held.tied(_open(performance) or low < len(events)), events[low:high], first, codec)


def song_windows(performance: Performance, fmt: MelFormat, window_frames: int, codec: Codec) -> Iterator[WindowTokens]:
    """The consecutive windows of a whole performance, as many as the public code makes.

    That code counts frames up to and including the one that contains the end, so a song that ends exactly at a window's end
    gets one more window. Events that rounding moves past the last window belong to it.
    """
    events, still_open = _events(performance, codec), _open(performance)
    length_s = performance.length_s or performance.end_s
    frames = int(length_s * fmt.sample_rate_hz) // fmt.hop_samples + 1
    count = -(-frames // window_frames)
    steps = [codec.steps(e.time_s) for e in events]
    held, low = _Held(), 0
    for k in range(count):
        first, last = (codec.steps(n * window_frames * fmt.frame_s) for n in (k, k + 1))
        high = bisect_left(steps, last, lo=low) if k + 1 < count else len(events)
        yield _write(held.tied(still_open or low < len(events)), events[low:high], first, codec)
        held.play(events[low:high])
        low = high


class _Event(NamedTuple):
    """An onset or offset. Sorts in the order of the public code: by time before rounding, offsets first, pitched notes before drums,
    program class, pitch."""

    time_s: float
    on: bool
    is_drum: bool
    program: int  # its class
    pitch: int
    place: int  # index of the note in the performance
    velocity: int


def _events(performance: Performance, codec: Codec) -> list[_Event]:
    """All onsets, and the offsets of all but drums, in order."""
    events = []
    for k, n in enumerate(performance.notes):
        if n.choke_s <= n.onset_s:
            continue  # choked before its onset
        program = n.program if n.is_drum else codec.program(n.program)
        events.append(_Event(n.onset_s, True, n.is_drum, program, n.pitch, k, n.velocity))
        if not n.is_drum and n.end_s < math.inf:
            events.append(_Event(n.end_s, False, False, program, n.pitch, k, 0))
    return sorted(events)


def _open(performance: Performance) -> bool:
    """Whether a note has no end yet."""
    return any(not n.is_drum and math.isinf(n.end_s) for n in performance.notes)


class _Held:
    """The (program, pitch) pairs that are held. As in the public code, the last event of a pair decides."""

    def __init__(self) -> None:
        self._on: set[tuple[int, int]] = set()

    def play(self, events: Sequence[_Event]) -> None:
        for e in events:
            if not e.is_drum:
                (self._on.add if e.on else self._on.discard)((e.program, e.pitch))

    def tied(self, goes_on: bool) -> list[tuple[int, int]]:
        """The held pairs, sorted; none once the song is over, unlike in the public code, which then lists notes that have ended."""
        return sorted(self._on) if goes_on else []


def _write(held: list[tuple[int, int]], events: list[_Event], first: int, codec: Codec) -> WindowTokens:
    ids: list[int] = []
    program = -1
    for tied_program, pitch in held:
        if tied_program != program:
            ids.append(codec.program_base + tied_program)
            program = tied_program
        ids.append(codec.pitch_base + pitch)
    ids.append(codec.tie)
    room = codec.max_tokens - 1 - len(ids)
    dropped = max(0, len(events) - room)  # each event has one token at least
    events = events[dropped:]
    body, times_s = _write_events(events, first, program, codec)
    while len(body) > room and events:  # each cut changes which program and velocity tokens must be repeated
        excess = max(1, (len(body) - room) // 4)
        events, dropped = events[excess:], dropped + excess
        body, times_s = _write_events(events, first, program, codec)
    return WindowTokens([*ids, *body, EOS], [-math.inf] * len(ids) + times_s + [math.inf], dropped)


def _write_events(events: Sequence[_Event], first: int, program: int, codec: Codec) -> tuple[list[int], list[float]]:
    ids: list[int] = []
    times_s: list[float] = []
    velocity, now = -1, first
    for time_s, _, is_drum, of_program, pitch, _, loudness in events:
        step = codec.steps(time_s)
        if step != now:
            ids.append(codec.shift(min(step - first, codec.max_shift_steps)))
            now = step
        if not is_drum and of_program != program:
            ids.append(codec.program_base + of_program)
            program = of_program
        token = codec.velocity(loudness)
        if token != velocity:
            ids.append(token)
            velocity = token
        ids.append((codec.drum_base if is_drum else codec.pitch_base) + pitch)
        times_s += [time_s] * (len(ids) - len(times_s))
    return ids, times_s


def window_start(origin: int, end: int, window_frames: int, hop_frames: int) -> int:
    """The first frame of the window for frames up to ``end``: it rolls by hops, no further than needed."""
    return origin + max(0, hop_frames * math.ceil((end - origin - window_frames) / hop_frames))
