"""Errors in a MIDI file are located, and mended if the file can still be played."""

import io
from pathlib import Path

import mido
import pytest

from specdiffd.base.errors import MidiFileError
from specdiffd.midi.mend import mend

SONGS = sorted((Path(__file__).parents[1] / "goldens" / "songs").glob("*.mid"))
END = b"\0\xff\x2f\0"
ON, OFF = b"\0\x90\x3c\x64", b"\x60\x80\x3c\x00"


def file_of(*tracks: bytes, kind: int = 1, division: int = 96, between: bytes = b"") -> bytes:
    header = b"MThd" + b"".join(n.to_bytes(size, "big") for n, size in ((6, 4), (kind, 2), (len(tracks), 2), (division, 2)))
    return header + between.join(b"MTrk" + len(t).to_bytes(4, "big") + t for t in tracks)


def messages(data: bytes) -> list[list[str]]:
    """Each track's messages as mido reads them, with their times."""
    return [[f"{m.time} {m.hex()}" for m in track] for track in mido.MidiFile(file=io.BytesIO(data)).tracks]


@pytest.mark.parametrize("song", SONGS, ids=lambda p: p.stem)
def test_nothing_is_wrong_with_whole_songs(song: Path) -> None:
    data, damages = mend(song.read_bytes())
    assert damages == []
    assert messages(data) == messages(song.read_bytes())


@pytest.mark.parametrize(
    ("track", "says", "left"),
    [
        (ON + b"\x60\x80\x3c\x00", [], ["0 90 3C 64", "96 80 3C 00"]),  # no end of the track
        (ON + b"\x60\x3c\x00" + END, [], ["0 90 3C 64", "96 90 3C 00"]),  # running status
        (b"\0\x90\x3c\xc8" + END, ["byte 25: data byte 0xc8, clipped to 0x7f"], ["0 90 3C 7F"]),
        (b"\0\xff\x59\x02\x08\0" + ON + END, ["byte 22: a key signature that is none, left out"], ["0 90 3C 64"]),
        (b"\0\xff\x59\x01\x08" + ON + END, ["byte 22: a meta event 0x59 of 1 bytes, expected 2, left out"], ["0 90 3C 64"]),
        (b"\x10\xff\x58\x04\0\x02\x18\x08" + ON + END, ["byte 22: a time signature that is none, left out"], ["16 90 3C 64"]),
        (b"\0\xff\x51\x03\0\0\0" + ON + END, ["byte 22: a tempo of 0 microseconds, left out"], ["0 90 3C 64"]),
        (b"\0\xff\x51\x02\0\0" + ON + END, ["byte 22: a meta event 0x51 of 2 bytes, expected 3, left out"], ["0 90 3C 64"]),
        (b"\0\xff\x54\x05\xe0\0\0\0\0" + ON + END, ["byte 22: an SMPTE offset of an unknown frame rate, left out"], ["0 90 3C 64"]),
        (
            ON + b"\0\xf0\x05\x7e\x7f\x09\x01\xf7\x60\x3c\x00" + END,
            ["byte 34: running status after a system or meta event"],
            ["0 90 3C 64", "0 F0 7E 7F 09 01 F7", "96 90 3C 00"],
        ),
        (b"\0\xf7\x06\x90\x3c\x64\xb0\x07\x50" + END, [], ["0 90 3C 64", "0 B0 07 50"]),  # an escape
        (b"\0\xf0\x03\x43\x12\x00\x10\xf7\x03\x43\x12\xf7" + END, [], ["16 F0 43 12 00 43 12 F7"]),  # in two pieces
        (
            b"\0\xf0\x02\x43\x12" + ON + b"\0\xf0\x02\x41\xf7" + END,
            ["byte 31: the system exclusive message before has no end, left out"],
            ["0 90 3C 64", "0 F0 41 F7"],
        ),
        (b"\0\xf0\x03\x43\x92\xf7" + ON + END, ["byte 22: a system exclusive message of 3 bytes"], ["0 90 3C 64"]),
        (b"\0\xf8" + ON + END, ["byte 22: status 0xf8, which no file may hold, left out"], ["0 90 3C 64"]),
        (ON + END + b"\0\0\0", ["byte 30: 3 bytes behind the end of the track"], ["0 90 3C 64"]),
        (ON + b"\x60\x80\x3c", ["byte 26: an event that does not end within the track"], ["0 90 3C 64"]),
        (ON + b"\x60", ["byte 26: the track is cut off, it ends here"], ["0 90 3C 64"]),
        (ON + b"\0\xff\x51\x09\0", ["byte 26: an event that does not end within the track"], ["0 90 3C 64"]),
    ],
)
def test_wrong_events_are_named_and_mended(track: bytes, says: list[str], left: list[str]) -> None:
    data, damages = mend(file_of(track))
    assert [str(d)[: len(f"track 1, {text}")] for d, text in zip(damages, says, strict=True)] == [f"track 1, {text}" for text in says]
    assert [m for m in messages(data)[0] if "FF 2F" not in m] == left


def test_unknown_chunks_and_bytes_behind_the_last_one_are_left_out() -> None:
    data, damages = mend(file_of(ON + END, OFF + END, between=b"XFIH\0\0\0\x02ab") + b"\0\0\0")
    assert [len(track) for track in messages(data)] == [2, 2]
    assert [d.reason for d in damages] == ["an unknown chunk b'XFIH', left out", "3 bytes behind the last chunk"]


def test_a_chunk_that_is_cut_off_plays_as_far_as_it_goes() -> None:
    data, damages = mend(file_of(ON + OFF + END)[:-6])
    assert len(messages(data)[0]) == 2
    assert "the chunk has 12 bytes, only 6 are left" in damages[0].reason


def test_the_header_may_miscount_the_tracks() -> None:
    song = file_of(ON + END, OFF + END, kind=0)
    data, damages = mend(song[:11] + b"\x05" + song[12:])
    assert len(messages(data)) == 2
    assert [str(d) for d in damages] == ["header, byte 10: the header says 5 tracks, there are 2"]


def test_a_riff_wrapper_is_taken_off() -> None:
    song = file_of(ON + END)
    wrapped = b"RIFF\0\0\0\0RMIDDISP\x03\0\0\0abc\0data" + len(song).to_bytes(4, "little") + song
    assert mend(wrapped).data == mend(song).data


@pytest.mark.parametrize(("frames", "ticks", "seconds"), [(0xE7, 40, 1.0), (0xE8, 4, 1.0), (0xE2, 80, 1.0), (0xE3, 80, 1.001)])
def test_smpte_time_becomes_beats_of_a_second(frames: int, ticks: int, seconds: float) -> None:
    rate = {0xE7: 25, 0xE8: 24, 0xE2: 30, 0xE3: 30}[frames]
    track = b"\0\xff\x51\x03\x01\x02\x03" + ON + END
    song = mido.MidiFile(file=io.BytesIO(mend(file_of(track, division=frames << 8 | ticks)).data))
    assert song.ticks_per_beat == rate * ticks
    assert [m.tempo for m in song.tracks[0] if m.type == "set_tempo"] == [round(1_000_000 * seconds)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"RIFF", "header, byte 0: no MIDI file: it begins with b'RIFF', expected b'MThd'"),
        (b"", "header, byte 0: no MIDI file"),
        (b"RIFF\0\0\0\0RMID", "header, byte 12: a RIFF file without the chunk b'data'"),
        (b"MThd\0\0", "header, byte 6: the file ends within the header"),
        (b"MThd\0\0\0\x06\0\x09\0\x01\0\x60", "header, byte 8: format 9"),
        (b"MThd\0\0\0\x06\0\0\0\x01\0\0", "header, byte 12: 0 ticks"),
        (b"MThd\0\0\0\x06\0\0\0\x01\xe7\0", "header, byte 12: 25 frames a second of 0 ticks"),
        (b"MThd\0\0\0\x06\0\0\0\x01\0\x60", "header, byte 14: no track follows"),
        (file_of(b"\0\x40"), "track 1, byte 23: 0x40 where a status byte is expected"),
        (file_of(b"\xff\xff\xff\xff\0"), "track 1, byte 22: a delta time of more than 4 bytes"),
        (file_of(b"\0\xf4"), "track 1, byte 22: status 0xf4"),
    ],
)
def test_a_file_that_cannot_be_played_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(MidiFileError) as error:
        mend(data)
    assert str(error.value).startswith(says)
