"""Loops that are compiled for this processor, for what is many small steps."""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from numba.core import event

from specdiffd.base.folders import cache_folder, private_folder, writable

F = TypeVar("F", bound=Callable[..., object])
Report = Callable[[str], object]
LOCK, COMPLETE = "lock", "complete"  # files beside what is kept: held by whoever compiles, there when all is compiled
KEPT_S = 30 * 86400.0  # after its last use: another version's code, some megabytes, which that version would make anew in ten seconds
WAIT_S = 0.5  # between two looks at the lock; a child must say so more often than the supervisor's limit for a start


def compiled(function: F) -> F:
    """``function`` as machine code, made when it is first called, and kept: see :func:`_folder`."""
    return _machine_code(function, inline=False)


def inlined(function: F) -> F:
    """As :func:`compiled`, for a part of a loop: its code becomes part of whatever compiled function calls it.

    A call passes all arrays of its arguments one by one and counts a reference to each, which takes longer than a short loop does.
    """
    return _machine_code(function, inline=True)


def _machine_code(function: F, inline: bool) -> F:
    folder, config = _folder(), cast(Any, numba.config)
    before, config.CACHE_DIR = config.CACHE_DIR, folder or config.CACHE_DIR
    try:
        return cast(F, numba.njit(function, cache=folder is not None, nogil=True, fastmath=True, error_model="numpy", forceinline=inline))
    finally:
        config.CACHE_DIR = before


@contextmanager
def compiled_once(report: Report) -> Iterator[None]:
    """Within it loops are called for the first time: of all processes that do so at a time one compiles them, the others take what it has kept.

    Args:
        report: is called with what is going on, for each loop that is compiled and while another process is waited for: compiling all
            takes twenty seconds, on a slow core that others want too some minutes.
    """
    folder = _folder()
    with event.install_listener("numba:compile", _Reporter(report)):
        if folder is None or _in_use(Path(folder)):
            yield
            return
        with open(os.path.join(folder, LOCK), "w", encoding="utf-8") as file:
            _wait_for(file, report)
            yield
            Path(folder, COMPLETE).touch()
        _forget_old(Path(folder))


class _Reporter(event.Listener):
    def __init__(self, report: Report) -> None:
        self._report = report

    def on_start(self, event: event.Event) -> None:
        self._report(f"compiling {event.data['dispatcher'].__name__}")

    def on_end(self, event: event.Event) -> None:
        pass


def _wait_for(file: TextIO, report: Report) -> None:
    """Lock a file; the lock goes with the process, however that ends."""
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process, which compiles")
            time.sleep(WAIT_S)
        except OSError:
            return None  # a file system without locks: each for itself


def _in_use(folder: Path) -> bool:
    """Whether all is there; and now it has been used lately."""
    if not (folder / COMPLETE).exists():
        return False
    with suppress(OSError):
        os.utime(folder / COMPLETE)
    return True


def _forget_old(folder: Path) -> None:
    """Remove what other versions have kept beside ``folder``, and nobody has used for long."""
    for other in folder.parent.glob("loops-*"):
        with suppress(OSError):
            if other != folder and time.time() - max(p.stat().st_mtime for p in (other, *other.glob(COMPLETE))) > KEPT_S:
                shutil.rmtree(other)


@cache
def _folder() -> str | None:
    """Where code is kept: beside this package, or in the user's cache, or where neither can be written in the user's private folder.

    A folder for what all modules with loops say, since Numba looks at a loop's own file alone. That file may be the same where a function
    or constant from another has changed, and what was kept for a type that is gone cannot even be read. Likewise for the version of
    Numba and the processor, whose code is of no use to others. None: it is made anew in each process.
    """
    package = Path(__file__).parents[1]
    sources = [content for path in sorted(package.rglob("*.py")) if b"loops" in (content := path.read_bytes())]
    made_by = f"{numba.__version__} {llvmlite.binding.get_host_cpu_name()} {llvmlite.binding.get_host_cpu_features().flatten()}"
    name = f"loops-{hashlib.sha256(b''.join([*sources, made_by.encode()])).hexdigest()[:16]}"
    user = cache_folder()
    for parent in (package / "__pycache__", None if user is None else user / "specdiffd", private_folder()):
        if parent is not None and writable(parent / name):
            return str(parent / name)
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
