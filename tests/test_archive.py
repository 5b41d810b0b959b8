"""Real songs sound the same from their files as through a port. Run with `make archive SONGS=...`, a folder of MIDI files."""

import math
import os
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from test_render import RATE, live

from specdiffd.base.events import Event, Performance
from specdiffd.base.instrument import Instrument
from specdiffd.instruments.loading import load_instrument
from specdiffd.instruments.sine import SineInstrument
from specdiffd.io.source import Source
from specdiffd.midi.file import read_song
from specdiffd.midi.score import Score
from specdiffd.render import Rendering, RenderSettings, render_file, stretches
from specdiffd.shared.ring import EventRing

pytestmark = [pytest.mark.slow, pytest.mark.skipif("SONGS" not in os.environ, reason="make archive SONGS=FOLDER")]
DELAY_S = 0.06
NOTES = ("pitch", "velocity", "program", "channel", "is_drum")
TIMES = ("onset_s", "offset_s", "choke_s")
# As in `test_render`: the built-in instrument draws other noise where stretches begin elsewhere.
MOST_DIFFERENT = {"sine": 1e-5, "builtin": 0.15}


def songs() -> list[Path]:
    return sorted(Path(os.environ.get("SONGS", ".")).rglob("*.mid"))


def played(path: Path) -> list[Event]:
    """The events that a port receives if mido plays a file into it."""
    ring = EventRing(capacity=1 << 18)
    source, now_s = Source(lambda message: ring.put(*message)), 0.0
    for message in mido.MidiFile(path):
        now_s += message.time
        if not message.is_meta:
            source.feed(bytes(message.bytes()), round(now_s * 1e9))
    return [Event(time_ns / 1e9, *rest) for time_ns, *rest in ring.take()]


def test_all_scores_are_those_of_a_port() -> None:
    assert songs()
    for path in songs():
        song = read_song(path)
        found = played(path)
        assert song.warnings == []
        assert 0 <= len(song.events) - len(found) <= 32  # the releases at the end
        ours, theirs = (Score(1 << 20).extend(e).performance for e in (song.events, found + song.events[len(found) :]))
        assert len(ours.notes) == len(theirs.notes) > 100, path
        for name in NOTES:
            assert [getattr(n, name) for n in ours.notes] == [getattr(n, name) for n in theirs.notes], (path, name)
        for name in TIMES:
            assert np.allclose(*([min(getattr(n, name), 1e9) for n in p.notes] for p in (ours, theirs)), atol=1e-5), (path, name)
        check_controllers(ours, theirs, song.end_s)


def check_controllers(ours: Performance, theirs: Performance, end_s: float) -> None:
    grid = np.arange(0.0013, end_s, 0.01)
    assert ours.controllers.keys() == theirs.controllers.keys()
    for channel, controllers in ours.controllers.items():
        for a, b in zip(controllers.curves, theirs.controllers[channel].curves, strict=True):
            assert np.array_equal(a.at(grid), b.at(grid))


def excerpt(events: list[Event], seconds: float) -> list[Event]:
    """The beginning of a song, from just before its first note on, with the programs and controllers from before; all notes end."""
    first_s = next(e.time_s for e in events if e.kind == 0x90 and e.data2)
    found = [e._replace(time_s=max(0.0, e.time_s - first_s + 0.1)) for e in events]
    return [*(e for e in found if e.time_s < seconds), *(Event(seconds, 0xB0 | c, n, 0) for c in range(16) for n in (64, 123))]


def difference(folder: Path, instrument: Instrument[object], path: Path, seconds: float) -> float:
    """Energy of the difference between a song's first seconds from its file and live, as a share."""
    later = [e._replace(time_s=e.time_s + DELAY_S) for e in excerpt(read_song(path).events, seconds)]
    render_file(instrument, Rendering(stretches(instrument, later), 0.0, []), folder / "a.wav", RenderSettings(RATE))
    offline, _ = soundfile.read(folder / "a.wav", dtype="float32")
    (folder / "a.wav").unlink()
    heard = live(instrument, excerpt(played(path), seconds), seconds + 1.0, DELAY_S)
    samples = min(len(offline), len(heard))
    assert samples > seconds * RATE / 2
    assert math.isfinite(float(heard.sum()))
    return float(np.sum((offline[:samples] - heard[:samples]) ** 2) / np.sum(offline[:samples] ** 2))


@pytest.mark.parametrize(("name", "every", "seconds"), [("sine", 1, 8.0), ("builtin", 20, 4.0)])
def test_all_songs_sound_as_from_a_port(tmp_path: Path, name: str, every: int, seconds: float) -> None:
    instrument: Instrument[object] = SineInstrument() if name == "sine" else load_instrument("builtin", dtype="float32")  # type: ignore[assignment]
    found = {path.name: difference(tmp_path, instrument, path, seconds) for path in songs()[::every]}
    sys.stdout.write(f"{name}: {len(found)} songs, median {np.median(list(found.values())):.2g}, worst {max(found.values()):.2g}\n")
    assert {song: x for song, x in found.items() if x > MOST_DIFFERENT[name]} == {}
