"""A window of a performance as token ids (arXiv 2206.05408, section 3.2; MT3's note encoding with ties)."""

from __future__ import annotations

import math
from typing import NamedTuple

from specdiffd.events import Note, Performance
from specdiffd.tokens.codec import EOS, Codec


class WindowTokens(NamedTuple):
    """Ids of one window, and for each the time of its event (minus infinity for ties, plus infinity for the end mark)."""

    ids: list[int]
    times_s: list[float]
    dropped_events: int = 0


def window_tokens(performance: Performance, start_s: float, end_s: float, codec: Codec) -> WindowTokens:
    """Tokens of the events in [start_s, end_s), before them the notes held over from earlier (ties).

    More tokens than the codec's maximum: the ties and the newest events that fit are kept, the rest is counted.
    """
    first, last = codec.steps(start_s), codec.steps(end_s)
    held: list[tuple[int, int]] = []
    onsets: list[tuple[float, Note]] = []
    offsets: list[tuple[float, Note]] = []
    for note in performance.notes:
        onset, end_time = codec.steps(note.onset_s), min(note.offset_s, note.choke_s)
        end = codec.steps(end_time) if math.isfinite(end_time) else last
        if first <= onset < last:
            onsets.append((note.onset_s, note))
        if note.is_drum:
            continue
        if onset < first <= end:
            held.append((codec.program(note.program), note.pitch))
        if first <= end < last and onset < last:
            offsets.append((end_time, note))
    events = sorted(offsets, key=_canonical) + sorted(onsets, key=_canonical)
    is_onset = [False] * len(offsets) + [True] * len(onsets)
    order = sorted(range(len(events)), key=lambda i: events[i][0])  # stable
    groups = [_Group(events[i][0], codec.steps(events[i][0]) - first, events[i][1], is_onset[i]) for i in order]
    return _write(sorted(set(held)), groups, codec)


def song_windows(performance: Performance, window_s: float, codec: Codec) -> list[WindowTokens]:
    """The windows of a whole performance, one behind the other."""
    count = max(1, math.ceil(performance.end_s / window_s))
    return [window_tokens(performance, k * window_s, (k + 1) * window_s, codec) for k in range(count)]


class _Group(NamedTuple):
    time_s: float
    step: int
    note: Note
    on: bool


def _canonical(item: tuple[float, Note]) -> tuple[bool, int, int]:
    note = item[1]
    return note.is_drum, note.program, note.pitch


def _write(held: list[tuple[int, int]], groups: list[_Group], codec: Codec) -> WindowTokens:
    ids: list[int] = []
    program = -1
    for tied_program, pitch in held:
        if tied_program != program:
            ids.append(codec.program_base + tied_program)
            program = tied_program
        ids.append(codec.pitch_base + pitch)
    ids.append(codec.tie)
    body, times_s = _write_events(groups, program, codec)
    room = codec.max_tokens - 1 - len(ids)
    dropped = 0
    while len(body) > room and groups:  # each cut changes which programs and velocities must be repeated
        excess = max(1, (len(body) - room) // 4)
        groups, dropped = groups[excess:], dropped + excess
        body, times_s = _write_events(groups, program, codec)
    return WindowTokens([*ids, *body, EOS], [-math.inf] * len(ids) + times_s + [math.inf], dropped)


def _write_events(groups: list[_Group], program: int, codec: Codec) -> tuple[list[int], list[float]]:
    ids: list[int] = []
    times_s: list[float] = []
    velocity, now = -1, 0
    for time_s, step, note, on in groups:
        if step != now:
            ids.append(codec.shift(step))
            now = step
        note_program = -1 if note.is_drum else codec.program(note.program)
        if not note.is_drum and note_program != program:
            ids.append(codec.program_base + note_program)
            program = note_program
        token = codec.velocity(note.velocity if on else 0)
        if token != velocity:
            ids.append(token)
            velocity = token
        ids.append((codec.drum_base if note.is_drum else codec.pitch_base) + note.pitch)
        times_s += [time_s] * (len(ids) - len(times_s))
    return ids, times_s
