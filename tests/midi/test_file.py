"""A file gives the same score as the same messages from live input."""

import os
import threading
from dataclasses import astuple
from pathlib import Path

import mido
import pytest

from specdiffd.base.errors import MidiFileError
from specdiffd.base.events import Event, Performance
from specdiffd.midi.file import read_song
from specdiffd.midi.published import published_performance
from specdiffd.midi.score import Score


def song(path: Path, *tracks: list[tuple[float, mido.Message | mido.MetaMessage]], kind: int = 1) -> Path:
    """Write a file of tracks, whose messages have times in seconds; a second is 1,000 ticks."""
    file = mido.MidiFile(type=kind, ticks_per_beat=1000)
    for number, rows in enumerate(tracks):
        track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)] if number == 0 or kind == 2 else [])
        now = 0
        for at_s, message in rows:
            track.append(message.copy(time=round(at_s * 1000) - now))
            now = round(at_s * 1000)
        file.tracks.append(track)
    file.save(path)
    return path


def message(kind: str, channel: int = 0, **fields: int) -> mido.Message:
    return mido.Message(kind, channel=channel, **fields)


def performance(path: Path) -> Performance:
    return Score().extend(read_song(path).events).performance


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
    events = [Event(t, *m.bytes(), *([0] * (3 - len(m.bytes())))) for t, m in MESSAGES]
    live = Score().extend(events).performance.notes
    assert [astuple(n) for n in performance(song(tmp_path / "a.mid", MESSAGES)).notes] == [astuple(n) for n in live]
    read = published_performance(tmp_path / "a.mid").notes  # of what this reader understands
    rows = [sorted((n.onset_s, n.end_s, n.pitch, n.velocity, n.program, n.is_drum) for n in notes) for notes in (read, live)]
    assert rows[0] == rows[1]


def test_tracks_share_tempo_programs_and_controllers(tmp_path: Path) -> None:
    """Events of one tick keep the order of the tracks, and within a track their own."""
    first = [
        (0.0, message("program_change", program=73)),
        (1.0, mido.MetaMessage("set_tempo", tempo=2_000_000)),
        (1.0, message("note_on", note=62, velocity=80)),
        (2.0, message("note_off", note=62)),
    ]
    second = [
        (0.0, message("control_change", control=7, value=50)),
        (0.5, message("note_on", note=60, velocity=80)),
        (1.0, message("program_change", program=5)),
        (2.0, message("note_off", note=60)),
    ]
    found = performance(song(tmp_path / "a.mid", first, second))
    assert [(n.pitch, n.onset_s, n.offset_s, n.program) for n in found.notes] == [(60, 0.5, 3.0, 73), (62, 1.0, 3.0, 73)]
    assert found.controllers[0].gain_db.last == pytest.approx(-16.19, abs=0.01)


def test_ports_have_channels_of_their_own(tmp_path: Path) -> None:
    tracks = [
        [
            (0.0, mido.MetaMessage("midi_port", port=port)),
            (0.0, message("program_change", program=program)),
            (0.1, message("note_on", note=60, velocity=80)),
            (0.1 + end_s, message("note_off", note=60)),
            (1.0, message("note_on", 9, note=38, velocity=80)),
            (1.1, message("note_off", 9, note=38)),
        ]
        for port, program, end_s in ((3, 19, 0.5), (7, 73, 0.9))
    ]
    notes = performance(song(tmp_path / "a.mid", *tracks)).notes
    assert [(n.channel, n.program, n.is_drum, n.offset_s) for n in notes] == [
        (0, 19, False, 0.6),
        (16, 73, False, 1.0),
        (9, 0, True, 1.1),
        (25, 0, True, 1.1),
    ]


def test_a_reset_affects_its_port_only(tmp_path: Path) -> None:
    def part(port: int, *more: tuple[float, mido.Message]) -> list[tuple[float, mido.Message]]:
        held = [(0.0, mido.MetaMessage("midi_port", port=port)), (0.1, message("note_on", note=60, velocity=80))]
        return [*held, *more, (2.0, message("note_off", note=60))]

    reset = mido.Message("sysex", data=(0x7E, 0x7F, 0x09, 0x01))
    notes = performance(song(tmp_path / "a.mid", part(0, (1.0, reset)), part(1))).notes
    assert [n.end_s for n in notes] == [1.0, 2.0]


def test_sequences_of_format_2_follow_each_other(tmp_path: Path) -> None:
    rows = [
        (0.0, message("note_on", note=60, velocity=80)),
        (0.5, message("note_off", note=60)),
        (1.0, message("note_on", note=64, velocity=80)),
    ]
    found = read_song(song(tmp_path / "a.mid", rows, rows, kind=2))
    assert [(n.pitch, n.onset_s, n.offset_s) for n in Score().extend(found.events).performance.notes] == [
        (60, 0.0, 0.5),
        (64, 1.0, 1.01),  # held: ends with its sequence, and has the shortest length of a note
        (60, 1.0, 1.5),
        (64, 2.0, 2.01),
    ]
    assert "2 sequences (format 2)" in found.warnings[0]


def test_notes_held_by_key_or_pedal_end_with_the_song(tmp_path: Path) -> None:
    held = [
        (0.0, message("note_on", 1, note=40, velocity=70)),
        (0.0, message("control_change", 2, control=64, value=127)),
        (0.5, message("note_on", note=60, velocity=100)),
        (0.5, message("note_on", 2, note=67, velocity=100)),
        (1.0, message("note_off", note=60)),
        (1.0, message("note_off", 2, note=67)),
        (1.5, message("note_on", note=60, velocity=80)),
        (3.0, message("control_change", control=1, value=0)),
    ]
    path = song(tmp_path / "held.mid", held)
    for notes in (performance(path).notes, published_performance(path).notes):
        assert [(n.pitch, n.onset_s, n.offset_s) for n in notes] == [(40, 0.0, 3.0), (60, 0.5, 1.0), (67, 0.5, 3.0), (60, 1.5, 3.0)]


def test_controllers_are_read(tmp_path: Path) -> None:
    messages = [
        (0.0, message("control_change", control=7, value=127)),
        (0.1, message("note_on", note=60, velocity=100)),
        (0.5, message("pitchwheel", pitch=4096)),
        (0.6, message("control_change", control=1, value=127)),
        (1.0, message("note_off", note=60)),
    ]
    path = song(tmp_path / "a.mid", messages)
    for found in (performance(path), published_performance(path)):
        controllers = found.controllers[found.notes[0].channel]
        assert controllers.gain_db.last == 0.0
        assert controllers.pitch_semitones.last == 1.0
        assert controllers.modulation.last == 1.0


def test_a_file_may_end_with_controllers_or_nothing(tmp_path: Path) -> None:
    rows = [(0.0, message("note_on", note=60, velocity=80)), (0.5, message("note_off", note=60)), (4.0, mido.MetaMessage("end_of_track"))]
    assert read_song(song(tmp_path / "a.mid", rows, [(5.0, message("control_change", control=7, value=1))])).end_s == 5.0
    assert read_song(song(tmp_path / "b.mid", rows)).end_s == 4.0


@pytest.mark.parametrize("content", [b"", b"RIFF....", b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\x20\0\x40"])
def test_broken_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mid"
    path.write_bytes(content)
    for read in (read_song, published_performance):
        with pytest.raises(MidiFileError, match=r"broken\.mid: (header|track 1), byte \d+: "):
            read(path)


def test_damage_is_a_warning_or_refused_if_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\x04\0\x90\x40\xff" + b"junk")
    warnings = read_song(path).warnings
    assert warnings[0] == f"{path}: track 1, byte 25: data byte 0xff, clipped to 0x7f"
    with pytest.raises(MidiFileError, match=r"clipped to 0x7f.*4 bytes behind"):
        read_song(path, strict=True)


def test_a_file_of_noise_has_its_first_damages_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    track = b"\0\x90\x40\xff" * 100
    path.write_bytes(b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk" + len(track).to_bytes(4, "big") + track)
    warnings = read_song(path).warnings
    assert len(warnings) == 11
    assert warnings[-1] == f"{path}: 90 more places"


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MidiFileError, match=r"none\.mid.*No such file"):
        read_song(tmp_path / "none.mid")
    with pytest.raises(MidiFileError, match="a folder"):
        read_song(tmp_path)
    with pytest.raises(MidiFileError, match="no MIDI file"):
        read_song(Path("/dev/zero"))


def test_a_pipe_is_read_up_to_the_limit(tmp_path: Path) -> None:
    whole = song(tmp_path / "a.mid", MESSAGES).read_bytes()
    endless = b"MThd" + bytes(70 << 20)
    for content, fits in ((whole, True), (endless, False)):
        reads, writes = os.pipe()

        def feed(content: bytes = content, writes: int = writes) -> None:
            with open(writes, "wb") as pipe:
                try:
                    pipe.write(content)
                except BrokenPipeError:
                    return

        feeder = threading.Thread(target=feed)
        feeder.start()
        with open(reads, "rb"):
            path = Path(f"/dev/fd/{reads}")
            if fits:
                assert len(read_song(path).events) == len(MESSAGES) + 6
            else:
                with pytest.raises(MidiFileError, match="more than 64 MiB"):
                    read_song(path)
        feeder.join()
