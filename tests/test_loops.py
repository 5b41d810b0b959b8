"""Loops are compiled wherever, and their polynomials are the functions that they stand for."""

from typing import Any

import numpy as np
import pytest

from specdiffd import loops

Floats = np.ndarray[Any, np.dtype[np.float32]]


@loops.compiled
def exponentials(x: Floats, y: Floats) -> None:
    for k in range(len(x)):
        y[k] = loops.exp(x[k])


@loops.compiled
def sines_and_cosines(x: Floats, sines: Floats, cosines: Floats) -> None:
    for k in range(len(x)):
        sines[k], cosines[k] = loops.sine_and_cosine(x[k])


def test_exponentials() -> None:
    x = np.linspace(-79, 40, 4001, dtype=np.float32)
    y = np.empty_like(x)
    exponentials(x, y)
    assert np.abs(y / np.exp(x.astype(np.float64)) - 1).max() < 5e-4
    near = np.abs(x) < 14
    assert np.abs(y / np.exp(x.astype(np.float64)) - 1)[near].max() < 3e-5


def test_sines_and_cosines() -> None:
    x = np.linspace(-3, 3, 4001, dtype=np.float32)
    sines, cosines = np.empty_like(x), np.empty_like(x)
    sines_and_cosines(x, sines, cosines)
    assert sines == pytest.approx(np.sin(2 * np.pi * x.astype(np.float64)), abs=2e-6)
    assert cosines == pytest.approx(np.cos(2 * np.pi * x.astype(np.float64)), abs=2e-6)


def test_loops_are_compiled_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = loops.numba.njit

    def nowhere(*args: Any, cache: bool = False, **settings: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compiled(*args, **settings)

    monkeypatch.setattr(loops.numba, "njit", nowhere)
    doubled = loops.compiled(lambda x: 2 * x)
    assert doubled(21) == 42
    assert doubled.signatures
