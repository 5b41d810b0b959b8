"""Loops that are compiled for this processor, for what is many small steps."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """``function`` as machine code, kept beside this package or in the user's cache, or made anew in each process where neither can be written."""
    folder, config = _folder(), cast(Any, numba.config)
    before, config.CACHE_DIR = config.CACHE_DIR, folder or config.CACHE_DIR
    try:
        return cast(F, numba.njit(function, cache=folder is not None, nogil=True, fastmath=True, error_model="numpy"))
    finally:
        config.CACHE_DIR = before


@cache
def _folder() -> str | None:
    """Where code is kept: a folder for what all modules with loops say, since Numba looks at a loop's own file alone.

    That file may be the same where a function or constant from another has changed, and what was kept for a type that is
    gone cannot even be read.
    """
    package = Path(__file__).parent
    sources = [content for path in sorted(package.rglob("*.py")) if b"loops" in (content := path.read_bytes())]
    name = f"loops-{hashlib.sha256(b''.join(sources)).hexdigest()[:16]}"
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for parent in (package / "__pycache__", Path(user) / "specdiffd"):
        folder = parent / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return str(folder)
    return None


# Typed: a constant of Python's would make the loops compute in double precision.
ONE, TWO = np.float32(1), np.float32(2)
PER_256 = np.float32(1 / 256)
EXP = tuple(np.float32(1 / math.factorial(n)) for n in range(2, 6))
SINE = tuple(np.float32((-1) ** n * math.pi ** (2 * n + 1) / math.factorial(2 * n + 1)) for n in range(6))
COSINE = tuple(np.float32((-1) ** n * math.pi ** (2 * n) / math.factorial(2 * n)) for n in range(1, 7))


@compiled
def exp(x: np.float32) -> np.float32:
    """exp(x) to 3e-5 for |x| < 14, to 5e-4 for |x| < 80: the 256th power of exp(x / 256). Without branches or calls, so that loops of it become vectors."""
    y = x * PER_256
    p = ONE + y * (ONE + y * (EXP[0] + y * (EXP[1] + y * (EXP[2] + y * EXP[3]))))
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    return p * p


@compiled
def sine_and_cosine(cycles: np.float32) -> tuple[np.float32, np.float32]:
    """Of an angle in full turns, to 1e-6, likewise: by Taylor's series of half the angle."""
    half = cycles - np.rint(cycles)
    square = half * half
    s = half * (SINE[0] + square * (SINE[1] + square * (SINE[2] + square * (SINE[3] + square * (SINE[4] + square * SINE[5])))))
    c = ONE + square * (
        COSINE[0] + square * (COSINE[1] + square * (COSINE[2] + square * (COSINE[3] + square * (COSINE[4] + square * COSINE[5]))))
    )
    return TWO * s * c, ONE - TWO * s * s
