"""Compiles Python loops to machine code for this processor, for work that is many small steps, and keeps the code on disk."""

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
LOCK, COMPLETE = "lock", "complete"  # files beside the code: locked by the process that compiles; exists when all loops are compiled
KEPT_S = 30 * 86400.0  # after its last use, code of another version is removed: some megabytes, made again in ten seconds
WAIT_S = 0.5  # between two attempts to lock; each is reported, and the supervisor kills a starting child that reports nothing for long


def compiled(function: F) -> F:
    """``function`` as machine code, compiled when it is first called and kept on disk for other processes."""
    return _machine_code(function, inline=False)


def inlined(function: F) -> F:
    """``function`` as machine code that is inlined into the compiled functions that call it.

    A call that is not inlined unpacks all its arrays and counts references to them, which takes longer than a short loop.
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
    """A context in which to call loops for the first time. If several processes do so at once, one compiles and the others use its code.

    Args:
        report: called for each loop that is compiled, and while the process waits for another one. Compiling everything takes twenty
            seconds, and some minutes on a slow core that is shared.
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
    """Lock a file. The lock ends with the process, however that ends."""
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process, which compiles")
            time.sleep(WAIT_S)
        except OSError:
            return None  # the file system has no locks: each process compiles for itself


def _in_use(folder: Path) -> bool:
    """Whether all loops are compiled; if so, record that the code is in use."""
    if not (folder / COMPLETE).exists():
        return False
    with suppress(OSError):
        os.utime(folder / COMPLETE)
    return True


def _forget_old(folder: Path) -> None:
    """Remove the code of other versions beside ``folder`` that nobody has used for long."""
    for other in folder.parent.glob("loops-*"):
        with suppress(OSError):
            if other != folder and time.time() - max(p.stat().st_mtime for p in (other, *other.glob(COMPLETE))) > KEPT_S:
                shutil.rmtree(other)


@cache
def _folder() -> str | None:
    """The folder of the compiled code: beside this package, else in the user's cache, else in the user's private folder; None: nowhere.

    Its name is a hash of all modules with loops, the version of Numba and the processor. Numba itself compares only the file of each loop,
    so it would keep using old code after a function or constant in another file has changed, and would fail on types that no longer exist.
    Without a folder each process compiles for itself.
    """
    package = Path(__file__).parents[1]
    sources = [content for path in sorted(package.rglob("*.py")) if b"loops" in (content := path.read_bytes())]
    compiler = f"{numba.__version__} {llvmlite.binding.get_host_cpu_name()} {llvmlite.binding.get_host_cpu_features().flatten()}"
    name = f"loops-{hashlib.sha256(b''.join([*sources, compiler.encode()])).hexdigest()[:16]}"
    user = cache_folder()
    for parent in (package / "__pycache__", None if user is None else user / "specdiffd", private_folder()):
        if parent is not None and writable(parent / name):
            return str(parent / name)
    return None


# Typed: a Python float would make the loops compute in double precision.
ONE, TWO = np.float32(1), np.float32(2)
PER_256 = np.float32(1 / 256)
EXP = tuple(np.float32(1 / math.factorial(n)) for n in range(2, 6))
SINE = tuple(np.float32((-1) ** n * math.pi ** (2 * n + 1) / math.factorial(2 * n + 1)) for n in range(6))
COSINE = tuple(np.float32((-1) ** n * math.pi ** (2 * n) / math.factorial(2 * n)) for n in range(1, 7))


@compiled
def exp(x: np.float32) -> np.float32:
    """exp(x) to 3e-5 for |x| < 14, to 5e-4 for |x| < 80, as the 256th power of exp(x / 256). It has no branches or calls, so loops of it are
    vectorised."""
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
    """Sine and cosine of an angle in full turns, to 1e-6, by the Taylor series of half the angle. It has no branches or calls either."""
    half = cycles - np.rint(cycles)
    square = half * half
    s = half * (SINE[0] + square * (SINE[1] + square * (SINE[2] + square * (SINE[3] + square * (SINE[4] + square * SINE[5])))))
    c = ONE + square * (
        COSINE[0] + square * (COSINE[1] + square * (COSINE[2] + square * (COSINE[3] + square * (COSINE[4] + square * COSINE[5]))))
    )
    return TWO * s * c, ONE - TWO * s * s
