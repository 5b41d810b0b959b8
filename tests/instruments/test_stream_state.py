"""What an instrument keeps of the spectrogram so far: cut, continued and looked up by absolute frame."""

from typing import Any

import pytest
import torch
from torch import Tensor

from specdiffd.diffusion.caches import Conditioning, DecoderState, Growing, NotesState
from specdiffd.instruments.state import WINDOWS, StreamState, Window

FIRST, FRAMES, BINS = 100, 30, 4
VOCODER: Any = object()  # its state is handed on as it is


def rows(first: int, frames: int) -> Tensor:
    """Frames (1, F, mel) that hold their own absolute number."""
    return (torch.arange(first, first + frames)[:, None] + torch.zeros(BINS))[None]


def window(start: int, frames: int = 20) -> Window:
    memory = DecoderState(Growing(torch.zeros(2, 1, 1, frames, 3)), ())
    notes = NotesState(Growing(torch.zeros(2, 1, 1, 0, 3)))
    return Window(start, [[]], notes, Conditioning(notes.keys_values, torch.zeros(1, 0)), 0, (memory, memory))


@pytest.fixture
def state() -> StreamState:
    return StreamState(FIRST, FIRST, rows(FIRST, FRAMES), -rows(FIRST, FRAMES), (), VOCODER)


def test_the_next_frame_follows_the_last(state: StreamState) -> None:
    assert state.next_frame == FIRST + FRAMES
    longer = state.followed_by(rows(130, 5), -rows(130, 5))
    assert (longer.next_frame, state.next_frame) == (135, 130)
    assert torch.equal(longer.mel, rows(FIRST, 35))
    assert torch.equal(longer.prior, -rows(FIRST, 35))


@pytest.mark.parametrize("frames", [1, 29, 30, 500])
def test_the_last_frames_are_kept(state: StreamState, frames: int) -> None:
    kept = state.last(frames)
    assert kept.next_frame == state.next_frame
    assert torch.equal(kept.mel, rows(kept.first_frame, min(frames, FRAMES)))
    assert torch.equal(kept.prior, -kept.mel)


@pytest.mark.parametrize(("first", "last"), [(100, 130), (110, 111), (90, 105), (40, 60), (99, 100), (120, 140), (105, 105)])
def test_frames_are_looked_up_by_their_number(state: StreamState, first: int, last: int) -> None:
    """Before the first there is silence; what is not there yet is not given."""
    found = state.between(state.mel, first, last, -9.0)
    numbers = [float(k) if k >= FIRST else -9.0 for k in range(first, min(last, FIRST + FRAMES))]
    assert found[0, :, 0].tolist() == numbers
    assert found.shape[2] == BINS


def test_going_back_forgets_frames_and_what_windows_know_of_them(state: StreamState) -> None:
    state = state.with_window(window(100, 25)).with_window(window(110, 15)).with_window(window(122, 5))
    earlier: Any = object()
    back = state.before(112, earlier)
    assert back.next_frame == 112
    assert torch.equal(back.mel, rows(FIRST, 12))
    assert back.vocoder is earlier
    assert [(w.start, w.frames) for w in back.windows] == [(100, 12), (110, 2)]
    assert [(w.start, w.frames) for w in state.windows] == [(100, 25), (110, 15), (122, 5)]


def test_going_back_loses_nothing_that_a_window_does_not_have(state: StreamState) -> None:
    back = state.with_window(window(100, 3)).before(120, VOCODER)
    assert [w.frames for w in back.windows] == [3]


def test_of_many_windows_the_newest_are_kept(state: StreamState) -> None:
    for start in range(10):
        state = state.with_window(window(start))
    assert [w.start for w in state.windows] == list(range(10 - WINDOWS, 10))


def test_a_window_replaces_the_one_in_its_place(state: StreamState) -> None:
    state = state.with_window(window(1)).with_window(window(2)).with_window(window(1, 7))
    assert [(w.start, w.frames) for w in state.windows] == [(2, 20), (1, 7)]
    found = state.window_at(1)
    assert found is not None
    assert found.frames == 7
    assert state.window_at(3) is None
