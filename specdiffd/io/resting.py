"""A callback in machine code: silence is played without waking Python, which is most of what an idle daemon would cost."""

from __future__ import annotations

import ctypes
from typing import Any

import numba
import numpy as np
from numba import types
from numba.np.numpy_support import carray

from specdiffd.shared.block import SharedBlock
from specdiffd.shared.marks import Header
from specdiffd.shared.sizes import PLAYED_SAMPLES, PLAYED_WORD, STEREO

PLAYHEAD, RESTING, VALID_UNTIL, SILENT = (
    getattr(Header, name).offset // 8 for name in ("playhead", "resting_blocks", "valid_until", "silent")
)
RING_START = 2 * (PLAYED_WORD + 1)  # of the block as float32
# PaStreamCallback: input, output, frames, time info, status flags, user data
CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p
)
_SIGNATURE = types.int32(types.voidptr, types.voidptr, types.uint64, types.voidptr, types.uint64, types.voidptr)


def resting_callback(shared: SharedBlock, channels: int, sounding: int) -> Any:
    """A PaStreamCallback that does what ``Player.fill`` does in a block of rest, and hands every other block on.

    It may do so for as many blocks as the player has granted (``resting_blocks``), while no forecast has come.

    Args:
        shared: the stream's user data must be the address of its ``words``.
        channels: float32 samples of a frame.
        sounding: address of the PaStreamCallback for all other blocks.

    Returns:
        a compiled function with its ``address``, to be kept while it may be called.
    """
    play = CALLBACK(sounding)
    size = len(shared.words)

    @numba.cfunc(_SIGNATURE)
    def callback(source, output, frames, time_info, status, user):  # type: ignore[no-untyped-def]
        words = carray(user, (size,), np.int64)
        if status != 0 or words[SILENT] == 0 or words[PLAYHEAD] < words[VALID_UNTIL] or words[RESTING] <= 0:
            return play(source, output, frames, time_info, status, user)
        out = carray(output, (frames * channels,), np.float32)
        for k in range(frames * channels):
            out[k] = 0
        ring = carray(user, (2 * size,), np.float32)
        count = words[PLAYED_WORD]
        for k in range(count * STEREO, (count + frames) * STEREO):
            ring[RING_START + k % (PLAYED_SAMPLES * STEREO)] = 0
        words[PLAYED_WORD] = count + frames
        words[RESTING] -= 1
        words[PLAYHEAD] += frames
        return 0

    return callback
