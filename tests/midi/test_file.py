"""Files are read by note-seq; what comes out is what live input would have made of the same messages."""

from pathlib import Path

import mido
import pytest

from specdiffd.errors import MidiFileError
from specdiffd.events import Event
from specdiffd.midi.file import load_performance
from specdiffd.midi.score import Score


def song(path: Path, messages: list[tuple[float, mido.Message]]) -> Path:
    file = mido.MidiFile(type=0, ticks_per_beat=1000)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)])
    file.tracks.append(track)
    now = 0
    for at_s, message in messages:
        track.append(message.copy(time=round(at_s * 1000) - now))
        now = round(at_s * 1000)
    file.save(path)
    return path


def message(kind: str, channel: int = 0, **fields: int) -> mido.Message:
    return mido.Message(kind, channel=channel, **fields)


MESSAGES = [
    (0.0, message("program_change", 1, program=40)),
    (0.0, message("control_change", control=64, value=127)),
    (0.5, message("note_on", note=60, velocity=100)),
    (0.75, message("note_on", 1, note=64, velocity=50)),
    (1.0, message("note_off", note=60)),
    (1.0, message("note_on", 9, note=46, velocity=90)),
    (1.25, message("note_on", 9, note=42, velocity=90)),
    (1.5, message("note_on", note=60, velocity=80)),
    (1.5, message("note_off", 9, note=46)),
    (1.5, message("note_off", 9, note=42)),
    (1.75, message("note_off", note=60)),
    (2.0, message("control_change", control=64, value=0)),
    (2.5, message("note_off", 1, note=64)),
]


def test_a_file_is_the_same_score_as_live(tmp_path: Path) -> None:
    read = load_performance(song(tmp_path / "a.mid", MESSAGES)).notes
    events = [Event(t, *m.bytes(), *([0] * (3 - len(m.bytes())))) for t, m in MESSAGES]
    live = Score().extend(events).performance.notes
    rows = [
        sorted((n.onset_s, min(n.offset_s, n.choke_s), n.pitch, n.velocity, n.program, n.is_drum, n.choke_s) for n in notes)
        for notes in (read, live)
    ]
    assert rows[0] == rows[1]


def test_notes_that_are_never_let_go_end_with_the_song(tmp_path: Path) -> None:
    held = [
        (0.0, message("note_on", 1, note=40, velocity=70)),
        (0.5, message("note_on", note=60, velocity=100)),
        (1.0, message("note_off", note=60)),
        (1.5, message("note_on", note=60, velocity=80)),
        (3.0, message("control_change", control=1, value=0)),
    ]
    notes = load_performance(song(tmp_path / "held.mid", held)).notes
    assert [(n.pitch, n.onset_s, n.offset_s) for n in notes] == [(40, 0.0, 3.0), (60, 0.5, 1.0), (60, 1.5, 3.0)]


def test_controllers_are_read(tmp_path: Path) -> None:
    messages = [
        (0.0, message("control_change", control=7, value=127)),
        (0.1, message("note_on", note=60, velocity=100)),
        (0.5, message("pitchwheel", pitch=4096)),
        (0.6, message("control_change", control=1, value=127)),
        (1.0, message("note_off", note=60)),
    ]
    performance = load_performance(song(tmp_path / "a.mid", messages))
    controllers = performance.controllers[performance.notes[0].channel]
    assert controllers.gain_db.last == 0.0
    assert controllers.bend_semitones.last == 1.0
    assert controllers.modulation.last == 1.0


@pytest.mark.parametrize("content", [b"", b"RIFF....", b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\x20\0\x90"])
def test_broken_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mid"
    path.write_bytes(content)
    with pytest.raises(MidiFileError, match=r"broken\.mid"):
        load_performance(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MidiFileError, match=r"none\.mid.*No such file"):
        load_performance(tmp_path / "none.mid")
