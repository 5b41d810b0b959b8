"""Loops that are compiled for this processor, for what is many small steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """``function`` as machine code, kept beside its module or in the user's cache, or made anew in each process where neither can be written.

    What it has of other modules becomes part of it and is not looked at again until its own file changes: that comes as arguments.
    """
    try:
        return cast(F, numba.njit(function, cache=True, nogil=True, fastmath=True, error_model="numpy"))
    except RuntimeError:  # nowhere to keep it
        return cast(F, numba.njit(function, nogil=True, fastmath=True, error_model="numpy"))
