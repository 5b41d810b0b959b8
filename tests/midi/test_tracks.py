"""Tracks of all kinds of events are read as mido reads them, and their ticks are where their tempi put them."""

import io
from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np
import pytest

from specdiffd.base.errors import MidiFileError
from specdiffd.midi.file import NAMED_DAMAGES, TickClock, Track, damage_texts
from specdiffd.midi.track import MOST_TICKS, Damage, meta, quantity
from specdiffd.midi.track import Track as Events

Rng = np.random.Generator
MAKERS: tuple[Callable[[Rng], mido.Message | mido.MetaMessage], ...] = (
    lambda r: mido.Message("note_on", channel=int(r.integers(16)), note=int(r.integers(128)), velocity=int(r.integers(128))),
    lambda r: mido.Message("control_change", channel=int(r.integers(16)), control=int(r.integers(128)), value=int(r.integers(128))),
    lambda r: mido.Message("program_change", channel=int(r.integers(16)), program=int(r.integers(128))),
    lambda r: mido.Message("pitchwheel", channel=int(r.integers(16)), pitch=int(r.integers(-8192, 8192))),
    lambda r: mido.Message("aftertouch", channel=int(r.integers(16)), value=int(r.integers(128))),
    lambda r: mido.Message("sysex", data=r.integers(0, 128, int(r.integers(1, 300))).tolist()),
    lambda r: mido.MetaMessage("text", text="x" * int(r.integers(200))),
    lambda r: mido.MetaMessage("set_tempo", tempo=int(r.integers(1, 1 << 24))),
    lambda r: mido.MetaMessage("key_signature", key="F#m"),
)


def random_track(seed: int) -> mido.MidiTrack:
    rng = np.random.default_rng(seed)
    messages = [MAKERS[int(k)](rng).copy(time=int(2 ** rng.uniform(0, 24)) - 1) for k in rng.integers(len(MAKERS), size=60)]
    return mido.MidiTrack([*messages, mido.MetaMessage("end_of_track", time=int(rng.integers(500)))])


def written(track: mido.MidiTrack) -> bytes:
    """The events of a track as bytes, without the chunk around them."""
    file, out = mido.MidiFile(tracks=[track]), io.BytesIO()
    file.save(file=out)
    return out.getvalue()[22:]


@pytest.mark.parametrize("seed", range(8))
def test_whole_tracks_are_read_as_they_are(seed: int) -> None:
    track = random_track(seed)
    damages: list[Damage] = []
    data = written(track)
    found = list(Events(data, 0, len(data), 1, damages).events())
    assert damages == []
    assert b"".join(quantity(delta) + event for delta, event in found) == b"".join(
        quantity(m.time) + (b"\xf0" + quantity(len(m.data) + 1) + bytes(m.data) + b"\xf7" if m.type == "sysex" else bytes(m.bytes()))
        for m in track
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_track_that_is_cut_off_anywhere_has_the_events_before(seed: int) -> None:
    data = written(random_track(seed))
    whole = list(Events(data, 0, len(data), 1, []).events())
    for end in np.random.default_rng(seed).integers(0, len(data), 40):
        found = list(Events(data, 0, int(end), 1, []).events())
        assert found[-1][1] == meta(0x2F, b"")
        assert found[:-1] == whole[: len(found) - 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "00"), (0x7F, "7F"), (0x80, "81 00"), (0x2000, "C0 00"), (0x3FFF, "FF 7F"), (0x4000, "81 80 00"), (0x0FFFFFFF, "FF FF FF 7F")],
)
def test_quantities_are_those_of_the_standard(value: int, expected: str) -> None:
    assert quantity(value) == bytes.fromhex(expected)


@pytest.mark.parametrize("what", ["a delta time", "a length"])
def test_a_quantity_without_an_end_is_refused(what: str) -> None:
    data = b"\xff\xff\xff\xff\x7f" if what == "a delta time" else b"\0\xf0\xff\xff\xff\xff\x7f"
    with pytest.raises(MidiFileError, match=f"track 3, byte 0: {what} of more than 4 bytes"):
        list(Events(data, 0, len(data), 3, []).events())


def test_ticks_without_end_are_refused() -> None:
    """Their times would no longer be exact."""
    data = (b"\xff\xff\xff\x7f" + b"\x90\x3c\x64") * (MOST_TICKS // 0x0FFFFFFF + 1)
    with pytest.raises(MidiFileError, match=f"expected at most {MOST_TICKS}"):
        list(Events(data, 0, len(data), 1, []).events())


def test_a_track_that_begins_without_a_status_is_refused() -> None:
    with pytest.raises(MidiFileError, match="track 1, byte 1: 0x3c where a status byte is expected"):
        list(Events(b"\0\x3c\x64", 0, 3, 1, []).events())


def tempo_track(*changes: tuple[int, int]) -> Track:
    return Track([(tick, mido.MetaMessage("set_tempo", tempo=tempo)) for tick, tempo in changes], max((t for t, _ in changes), default=0))


@pytest.mark.parametrize("seed", range(5))
def test_seconds_are_the_sum_over_all_ticks_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    changes = [(int(tick), int(tempo)) for tick, tempo in zip(40 * rng.integers(0, 5, 6), rng.integers(1, 1 << 24, 6), strict=True)]
    clock = TickClock([tempo_track(*changes[:3]), tempo_track(*changes[3:])], 96)
    in_order = sorted(changes, key=lambda change: change[0])  # of two at one tick the later in the file counts
    elapsed_us = 0
    for tick in range(400):
        assert clock.seconds(tick) == pytest.approx(elapsed_us / 96e6, abs=1e-12)
        elapsed_us += next((tempo for at, tempo in reversed(in_order) if at <= tick), 500_000)


def test_without_a_tempo_a_quarter_note_is_half_a_second() -> None:
    assert TickClock([tempo_track()], 480).seconds(480) == 0.5


def test_nothing_is_rounded_on_the_way() -> None:
    """Twenty thousand tempi of a third of a second: their sum is exact, a running sum of floats is not."""
    clock = TickClock([tempo_track(*((k, 333_333) for k in range(20_000)))], 1)
    assert clock.seconds(20_000) == 6666.66


@pytest.mark.parametrize(("count", "lines"), [(0, 0), (NAMED_DAMAGES, NAMED_DAMAGES), (NAMED_DAMAGES + 3, NAMED_DAMAGES + 1)])
def test_of_many_damages_the_first_are_named(count: int, lines: int) -> None:
    texts = damage_texts(Path("a.mid"), [Damage(1, k, "wrong") for k in range(count)])
    assert len(texts) == lines
    assert texts[:1] == ["a.mid: track 1, byte 0: wrong"][:count]
    assert (texts[-1:] == ["a.mid: 3 more places"]) == (count > NAMED_DAMAGES)
