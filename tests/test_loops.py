"""Loops are compiled wherever, and their polynomials are the functions that they stand for."""

import shutil
import subprocess
import sys
from pathlib import Path
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
    monkeypatch.setattr(loops, "_folder", lambda: None)
    doubled = loops.compiled(lambda x: 2 * x)
    assert doubled(21) == 42
    assert doubled.signatures


MODULE = """
from typing import NamedTuple
import numpy as np
from specdiffd.loops import compiled

class {name}(NamedTuple):
    x: float

@compiled
def double(pair):
    return {factor} * pair.x

print(double({name}(21.0)), double.stats.cache_hits.total())
"""


def test_an_upgrade_does_not_stumble_over_what_was_kept(tmp_path: Path) -> None:
    """A type that is gone, at the same place of the same file; a second start takes what is kept."""
    package = tmp_path / "specdiffd"
    package.mkdir()
    for name in ("__init__.py", "loops.py"):
        shutil.copy(Path(loops.__file__).parent / name, package)

    def said(name: str, factor: int) -> list[str]:
        (package / "some_loops.py").write_text(MODULE.format(name=name, factor=factor))
        command = [sys.executable, "-c", "import specdiffd.some_loops"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    assert said("Before", 2) == ["42.0", "0"]
    assert said("Later", 3) == ["63.0", "0"]
    assert said("Later", 3) == ["63.0", "1"]


def test_what_is_kept_is_of_all_modules_with_loops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loops, "__file__", str(tmp_path / "loops.py"))
    other = tmp_path / "other.py"
    found = []
    for text in ("from specdiffd import loops", "from specdiffd import loops\nX = 1", "from specdiffd import loops"):
        other.write_text(text)
        loops._folder.cache_clear()
        found.append(loops._folder())
    loops._folder.cache_clear()
    assert found[0] == found[2] != found[1]
    assert found[0] is not None
    assert found[0].startswith(str(tmp_path))
