"""Composes the bundled performance: two minutes for piano, strings, winds, guitar, brass, drums and more.

``python -m specdiffd.demo.compose OUT.mid`` writes it; ``performance.mid`` beside this file is the result.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import mido

TICKS = 480
BAR = 4 * TICKS
TEMPO_BPM = 92
PIANO, VIBES, GUITAR, BASS, STRINGS, HARP, CHOIR, TRUMPET, BRASS, SAX, FLUTE, DRUMS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 9
PROGRAMS = {PIANO: 0, VIBES: 11, GUITAR: 27, BASS: 33, STRINGS: 48, HARP: 46, CHOIR: 52, TRUMPET: 56, BRASS: 61, SAX: 65, FLUTE: 73}
VOLUMES = {
    PIANO: 105,
    VIBES: 95,
    GUITAR: 85,
    BASS: 105,
    STRINGS: 85,
    HARP: 95,
    CHOIR: 80,
    TRUMPET: 90,
    BRASS: 80,
    SAX: 92,
    FLUTE: 100,
    DRUMS: 100,
}

VERSE = ("Dm", "Bb", "F", "C", "Gm", "Dm", "A", "Dm")
CHORUS = ("Bb", "C", "Dm", "F", "Gm", "Bb", "A", "A")
CHORDS = {
    "Dm": (50, 53, 57),
    "Bb": (46, 50, 53),
    "F": (53, 57, 60),
    "C": (48, 52, 55),
    "Gm": (43, 46, 50),
    "A": (45, 49, 52),
}
MELODY = (  # bar, beat, length in beats, pitch
    (0, 0, 1.5, 74), (0, 1.5, 0.5, 72), (0, 2, 2, 69), (1, 0, 1, 70), (1, 1, 1, 74), (1, 2, 2, 77), (2, 0, 1.5, 76), (2, 1.5, 0.5, 74),
    (2, 2, 2, 72), (3, 0, 3, 67), (3, 3, 1, 69), (4, 0, 1, 70), (4, 1, 1, 74), (4, 2, 1, 79), (4, 3, 1, 77), (5, 0, 2, 74), (5, 2, 2, 69),
    (6, 0, 1, 73), (6, 1, 1, 76), (6, 2, 2, 81), (7, 0, 4, 74),
)  # fmt: skip
HOOK = (
    (0, 0, 0.75, 77), (0, 0.75, 0.75, 77), (0, 1.5, 1.5, 74), (0, 3, 1, 70), (1, 0, 0.75, 76), (1, 0.75, 0.75, 76), (1, 1.5, 2.5, 72),
    (2, 0, 0.75, 77), (2, 0.75, 0.75, 76), (2, 1.5, 2.5, 74), (3, 0, 1, 72), (3, 1, 1, 74), (3, 2, 2, 77), (4, 0, 1.5, 79), (4, 1.5, 0.5, 77),
    (4, 2, 1, 74), (4, 3, 1, 70), (5, 0, 2, 74), (5, 2, 2, 77), (6, 0, 2, 76), (6, 2, 2, 73), (7, 0, 3, 69),
)  # fmt: skip


class Sheet:
    """Messages by absolute tick."""

    def __init__(self) -> None:
        self._rng = random.Random(1)
        self._rows: list[tuple[int, int, mido.Message]] = []

    def note(self, channel: int, bar: float, beat: float, beats: float, pitch: int, velocity: float) -> None:
        """A note, a little off the grid as people play."""
        start = round(bar * BAR + beat * TICKS + self._rng.gauss(0, 6))
        loud = max(1, min(127, round(velocity + self._rng.gauss(0, 4))))
        self._rows.append((max(0, start), 2, mido.Message("note_on", channel=channel, note=pitch, velocity=loud)))
        self._rows.append((max(1, start + round(beats * TICKS)), 0, mido.Message("note_off", channel=channel, note=pitch)))

    def control(self, channel: int, bar: float, control: int, value: int) -> None:
        """A controller."""
        self._rows.append((round(bar * BAR), 1, mido.Message("control_change", channel=channel, control=control, value=value)))

    def swell(self, channel: int, first_bar: int, last_bar: int, low: int, high: int) -> None:
        """Expression up and down over some bars."""
        steps = (last_bar - first_bar) * 16
        for k in range(steps + 1):
            up = 1 - abs(2 * k / steps - 1)
            self.control(channel, first_bar + k / 16, 11, round(low + (high - low) * up))

    def file(self) -> mido.MidiFile:
        """The messages as a standard MIDI file of one track."""
        song = mido.MidiFile(type=0, ticks_per_beat=TICKS)
        track = mido.MidiTrack()
        song.tracks.append(track)
        track.append(mido.MetaMessage("track_name", name="specdiffd performance"))
        track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(TEMPO_BPM)))
        for channel, program in PROGRAMS.items():
            track.append(mido.Message("program_change", channel=channel, program=program))
        for channel, volume in VOLUMES.items():
            track.append(mido.Message("control_change", channel=channel, control=7, value=volume))
        now = 0
        for tick, _, message in sorted(self._rows, key=lambda row: row[:2]):
            track.append(message.copy(time=tick - now))
            now = tick
        track.append(mido.MetaMessage("end_of_track", time=TICKS))
        return song


def compose() -> mido.MidiFile:
    """The performance, section by section."""
    sheet = Sheet()
    _piano_arpeggios(sheet, 0, 16, VERSE)
    _pad(sheet, STRINGS, 8, 24, VERSE, 60)
    _bass(sheet, 8, 24, VERSE, busy=False)
    _tune(sheet, FLUTE, 16, MELODY, 0, 88)
    _drums(sheet, 16, 24, light=True)
    _piano_chords(sheet, 16, 24, VERSE)
    _chorus(sheet, 24, SAX, 0)
    _break(sheet, 32, 38)
    _chorus(sheet, 38, TRUMPET, 0, bars=6)
    _ending(sheet, 44)
    return sheet.file()


def _chord(names: tuple[str, ...], bar: int, first: int) -> tuple[int, ...]:
    return CHORDS[names[(bar - first) % len(names)]]


def _piano_arpeggios(sheet: Sheet, first: int, last: int, names: tuple[str, ...]) -> None:
    for bar in range(first, last):
        low, third, fifth = _chord(names, bar, first)
        sheet.control(PIANO, bar + 0.01, 64, 127)
        sheet.control(PIANO, bar + 0.97, 64, 0)
        loud = 45 + 40 * (bar - first) / (last - first)
        sheet.note(PIANO, bar, 0, 4, low - 12, loud + 8)
        for k, pitch in enumerate((low, fifth, low + 12, third + 12, fifth + 12, third + 12, low + 12, fifth)):
            sheet.note(PIANO, bar, k / 2, 0.6, pitch, loud + (6 if k % 4 == 0 else 0))
        if bar % 2:
            sheet.note(PIANO, bar, 2, 1.5, third + 24, loud)


def _piano_chords(sheet: Sheet, first: int, last: int, names: tuple[str, ...]) -> None:
    for bar in range(first, last):
        for beat in (0, 1.5, 2.5):
            for pitch in _chord(names, bar, first):
                sheet.note(PIANO, bar, beat, 0.9, pitch + 12, 72)


def _pad(sheet: Sheet, channel: int, first: int, last: int, names: tuple[str, ...], loud: int) -> None:
    sheet.swell(channel, first, last, 60, 120)
    for bar in range(first, last):
        low, third, fifth = _chord(names, bar, first)
        for pitch in (low, fifth, third + 12, low + 12):
            sheet.note(channel, bar, 0, 3.95, pitch, loud)


def _bass(sheet: Sheet, first: int, last: int, names: tuple[str, ...], busy: bool) -> None:
    for bar in range(first, last):
        root = _chord(names, bar, first)[0] - 12
        pattern = ((0, 0.9), (1, 0.4), (1.5, 0.9), (2.5, 0.4), (3, 0.4), (3.5, 0.4)) if busy else ((0, 1.8), (2, 1.4), (3.5, 0.4))
        for k, (beat, beats) in enumerate(pattern):
            sheet.note(BASS, bar, beat, beats, root + (7 if k == len(pattern) - 1 else 0), 92 if beat == 0 else 80)


def _tune(sheet: Sheet, channel: int, first: int, tune: tuple[tuple[int, float, float, int], ...], shift: int, loud: int) -> None:
    for bar, beat, beats, pitch in tune:
        sheet.note(channel, first + bar, beat, beats * 0.95, pitch + shift, loud + (8 if beat == 0 else 0))


def _drums(sheet: Sheet, first: int, last: int, light: bool) -> None:
    sheet.note(DRUMS, first, 0, 0.5, 49, 70 if light else 105)
    for bar in range(first, last):
        fill = (bar - first) % 8 == 7
        for k in range(8):
            sheet.note(DRUMS, bar, k / 2, 0.2, 51 if light else 42, 62 if k % 2 == 0 else 48)
        for beat in (0, 2.5) if light else (0, 1.5, 2):
            sheet.note(DRUMS, bar, beat, 0.3, 36, 84 if light else 108)
        for beat in (1, 3):
            sheet.note(DRUMS, bar, beat, 0.3, 37 if light else 38, 70 if light else 104)
        if not light:
            sheet.note(DRUMS, bar, 3.5, 0.4, 46, 66)
        if fill:
            for k, pitch in enumerate((50, 50, 48, 48, 47, 47, 45, 43)):
                sheet.note(DRUMS, bar, 2 + k / 4, 0.2, pitch, 70 + 5 * k)


def _chorus(sheet: Sheet, first: int, lead: int, shift: int, bars: int = 8) -> None:
    _drums(sheet, first, first + bars, light=False)
    _bass(sheet, first, first + bars, CHORUS, busy=True)
    _pad(sheet, STRINGS, first, first + bars, CHORUS, 70)
    _tune(sheet, lead, first, tuple(n for n in HOOK if n[0] < bars), shift, 98)
    for bar in range(first, first + bars):
        low, third, fifth = _chord(CHORUS, bar, first)
        for k, pitch in enumerate((low + 12, fifth + 12, third + 24, fifth + 12) * 2):
            sheet.note(GUITAR, bar, k / 2, 0.45, pitch, 74 + 8 * (k % 2))
        for beat in (0, 1.5) if bar % 2 else (2.5,):
            for pitch in (low + 12, third + 12, fifth + 12):
                sheet.note(BRASS, bar, beat, 0.35, pitch, 96)
        for pitch in (low, fifth, third + 12):
            sheet.note(PIANO, bar, 0, 1.4, pitch, 84)
            sheet.note(PIANO, bar, 1.5, 2.2, pitch, 78)


def _break(sheet: Sheet, first: int, last: int) -> None:
    _pad(sheet, CHOIR, first, last, VERSE, 66)
    sheet.note(DRUMS, first, 0, 1, 49, 90)
    for bar in range(first, last):
        low, third, fifth = _chord(VERSE, bar, first)
        sheet.control(HARP, bar, 64, 127)
        sheet.control(HARP, bar + 0.98, 64, 0)
        run = (low, third, fifth, low + 12, third + 12, fifth + 12, low + 24, third + 24)
        for k, pitch in enumerate(run + run[::-1]):
            sheet.note(HARP, bar, k / 4, 0.4, pitch, 58 + 2 * (k % 8))
        for k, pitch in enumerate((fifth + 24, low + 24, third + 24)):
            sheet.note(VIBES, bar, 1 + k, 1.8, pitch, 70)
        sheet.note(BASS, bar, 0, 3.5, low - 12, 70)
    for k in range(16):
        sheet.note(DRUMS, last - 1, k / 4, 0.2, 38, 40 + 4 * k)


def _ending(sheet: Sheet, bar: int) -> None:
    sheet.control(PIANO, bar, 64, 127)
    sheet.control(PIANO, bar + 1.9, 64, 0)
    for k, pitch in enumerate((26, 38, 50, 57, 62, 65, 69, 74)):
        sheet.note(PIANO, bar, 0.06 * k, 7, pitch, 84 - 3 * k)
    for pitch in (50, 57, 65, 69):
        sheet.note(STRINGS, bar, 0, 6.5, pitch, 62)
    sheet.note(FLUTE, bar, 1, 5, 81, 66)
    sheet.note(DRUMS, bar, 0, 1, 49, 84)
    sheet.note(BASS, bar, 0, 6, 38, 78)


if __name__ == "__main__":
    compose().save(Path(sys.argv[1]))
