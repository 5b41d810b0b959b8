"""The instrument without networks: a pure function of score and time, however it is cut."""

import math

import numpy as np
import pytest

from specdiffd.base.events import Controllers, Note, Performance
from specdiffd.base.instrument import finish, render
from specdiffd.instruments.sine import SineInstrument

RATE, HOP = SineInstrument.sample_rate_hz, SineInstrument.hop_samples


def performance(*notes: tuple[float, float, int, int]) -> Performance:
    """Of notes (onset_s, offset_s, pitch, velocity)."""
    return Performance([Note(on, pitch, velocity, 0, 0, offset_s=off) for on, off, pitch, velocity in notes], {0: Controllers()})


CHORD = performance((0.05, 0.21, 60, 100), (0.1, math.inf, 67, 64), (0.13, 0.131, 75, 127))


def played(sizes: list[int], first_frame: int = 0) -> np.ndarray:
    instrument, pieces, at = SineInstrument(), [], first_frame
    state = instrument.start(first_frame, 1)
    for size in sizes:
        rendered, state = render(instrument, [CHORD], state, at, size)
        assert rendered.first_hop == at - instrument.lookahead_frames
        pieces.append(rendered.audio[0])
        at += size
    assert state.next_frame == at
    return np.concatenate(pieces)


@pytest.mark.parametrize("sizes", [[1] * 23, [7, 16], [22, 1], [3, 5, 15]])
def test_chunked_equals_whole(sizes: list[int]) -> None:
    whole = played([23])
    assert whole.shape == (23 * HOP,)
    np.testing.assert_array_equal(played(sizes), whole)


def test_it_does_not_matter_where_it_begins() -> None:
    np.testing.assert_array_equal(played([10], first_frame=6), played([16])[6 * HOP :])


def test_a_note_is_a_sine_of_its_key_and_velocity() -> None:
    times = np.arange(RATE) / RATE
    audio = SineInstrument.sound(performance((0.0, math.inf, 69, 64)), times)
    inside = times > 0.01
    np.testing.assert_allclose(audio[inside], 0.1 * 64 / 127 * np.sin(2 * np.pi * 440 * times[inside]), atol=1e-6)


def test_before_its_onset_and_after_its_ring_it_is_silent() -> None:
    times = np.arange(RATE) / RATE
    audio = SineInstrument.sound(performance((0.2, 0.4, 69, 127)), times)
    assert not audio[times <= 0.2].any()
    assert not audio[times >= 0.4 + SineInstrument.ring_s].any()
    assert np.abs(audio[(times > 0.41) & (times < 0.42)]).max() > 0.01


def test_notes_add_up() -> None:
    times = np.arange(2000) / RATE
    one, other = performance((0.0, 0.05, 60, 90)), performance((0.01, 0.1, 64, 90))
    both = Performance([*one.notes, *other.notes], {})
    expected = SineInstrument.sound(one, times) + SineInstrument.sound(other, times)
    np.testing.assert_allclose(SineInstrument.sound(both, times), expected, atol=1e-7)


def test_parts_are_apart() -> None:
    instrument, silent = SineInstrument(), Performance([], {})
    rendered, _ = render(instrument, [CHORD, silent], instrument.start(0, 2), 0, 20)
    assert rendered.audio.shape == (2, 20 * HOP)
    assert rendered.audio[0].any()
    assert not rendered.audio[1].any()


def test_it_can_go_back_and_not_ahead() -> None:
    instrument = SineInstrument()
    state = render(instrument, [CHORD], instrument.start(0, 1), 0, 10)[1]
    assert instrument.rewind(state, 4).next_frame == 4
    with pytest.raises(ValueError, match="frame 11 does not follow frame 9"):
        instrument.rewind(state, 11)
    with pytest.raises(ValueError, match="frame 12 does not follow"):
        finish(instrument.stages([CHORD], state, 12, 1))


def test_it_may_be_stopped_between_two_stages() -> None:
    instrument = SineInstrument()
    stages = instrument.stages([CHORD], instrument.start(0, 1), 0, 5)
    assert next(stages) is None
    assert finish(stages)[0].audio.shape == (1, 5 * HOP)


def test_no_samples_are_no_sound() -> None:
    assert SineInstrument.sound(CHORD, np.zeros(0)).shape == (0,)
