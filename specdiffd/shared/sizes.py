"""How the block of shared memory is laid out: sizes in bytes, in this order, each part at a multiple of 64."""

from __future__ import annotations

import ctypes
from itertools import accumulate

from specdiffd.shared.marks import Header
from specdiffd.shared.ring import EventRing

CHANNELS = 2  # of the timeline: the sound, dry, and what of it goes to the reverberation
STEREO = 2  # of what is put out; the device may have other numbers of channels
MAX_BLOCK = 8192  # samples of a callback
CAPACITY_SAMPLES = 1 << 21  # 10.9 s at 192 kHz: the longest forecast that can be configured, and the past beside it
PLAYED_SAMPLES = 1 << 18  # 5 s at 48 kHz: recording and picture must fetch what was played within it
FLOAT, WORD = 4, 8


def timeline_bytes(capacity: int = CAPACITY_SAMPLES) -> int:
    """Of a timeline of ``capacity`` samples: its marks, then its audio."""
    return ctypes.sizeof(Header) + capacity * CHANNELS * FLOAT


SIZES = (timeline_bytes(), WORD + PLAYED_SAMPLES * STEREO * FLOAT, EventRing.size(), EventRing.size())
STARTS = [*accumulate((-(-size // 64) * 64 for size in SIZES), initial=0)]  # and the end of all
PLAYED_WORD = STARTS[1] // WORD  # among the words of the block: how many samples were played, with their audio behind it
