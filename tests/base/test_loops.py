"""Loops are compiled wherever the package lies, and their polynomials are exact enough."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specdiffd.base import folders, loops

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


def test_loops_are_compiled_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_folder", lambda: None)
    doubled = loops.compiled(lambda x: 2 * x)
    assert doubled(21) == 42
    assert doubled.signatures


MODULE = """
from typing import NamedTuple
import numpy as np
from specdiffd.base.loops import compiled

class {name}(NamedTuple):
    x: float

@compiled
def double(pair):
    return {factor} * pair.x

print(double({name}(21.0)), double.stats.cache_hits.total())
"""


def copy_of(package: Path) -> None:
    """Copy the modules that loops need."""
    (package / "base").mkdir(parents=True)
    for name in ("__init__.py", "base/__init__.py", "base/errors.py", "base/folders.py", "base/loops.py"):
        shutil.copy(Path(loops.__file__).parents[1] / name, package / name)


def test_an_upgrade_does_not_use_code_of_the_version_before(tmp_path: Path) -> None:
    """A type is renamed at the same place of the same file. A second start uses the code that was kept."""
    package = tmp_path / "specdiffd"
    copy_of(package)

    def run(name: str, factor: int) -> list[str]:
        (package / "some_loops.py").write_text(MODULE.format(name=name, factor=factor))
        command = [sys.executable, "-c", "import specdiffd.some_loops"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    assert run("Before", 2) == ["42.0", "0"]
    assert run("Later", 3) == ["63.0", "0"]
    assert run("Later", 3) == ["63.0", "1"]


TOGETHER = """
import sys, time
from pathlib import Path
from specdiffd.base import loops

@loops.compiled
def double(x):
    return 2 * x

Path("here" + sys.argv[1]).touch()
while not Path("go").exists():
    time.sleep(0.001)
with loops.compiled_once(lambda what: print(what, file=sys.stderr, flush=True)):
    double(21.0)
print(double.stats.cache_misses.total(), double.stats.cache_hits.total())
"""


def start(folder: Path, number: int) -> subprocess.Popen[str]:
    """A process that compiles when the file ``go`` is there."""
    (folder / "together.py").write_text(TOGETHER)
    command = [sys.executable, "together.py", str(number)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (folder / f"here{number}").exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


def test_of_processes_that_start_together_one_compiles(tmp_path: Path) -> None:
    copy_of(tmp_path / "specdiffd")
    processes = [start(tmp_path, number) for number in range(3)]
    (tmp_path / "go").touch()
    found = [process.communicate(timeout=60) for process in processes]
    assert sorted(said for said, _ in found) == ["0 1\n", "0 1\n", "1 0\n"]
    for said, reported in found:
        assert ("waiting for another process" in reported) == (said == "0 1\n")
        assert ("compiling double" in reported) == (said == "1 0\n")


def test_a_process_that_dies_while_it_compiles_stops_no_other(tmp_path: Path) -> None:
    copy_of(tmp_path / "specdiffd")
    code = "import time; from specdiffd.base import loops\nwith loops.compiled_once(print):\n print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) as dying:
        assert dying.stdout is not None
        dying.stdout.readline()
        waiting = start(tmp_path, 0)
        (tmp_path / "go").touch()
        assert waiting.stderr is not None
        assert "waiting for another process" in waiting.stderr.readline()
        dying.kill()
    assert waiting.communicate(timeout=60)[0] == "1 0\n"
    assert list((tmp_path / "specdiffd").glob("__pycache__/loops-*/complete"))


def test_code_is_kept_privately_if_package_and_cache_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    private = tmp_path / "private"
    monkeypatch.setattr(loops, "private_folder", lambda: private)
    monkeypatch.setattr(loops, "writable", lambda folder: folder.is_relative_to(private) and folders.writable(folder))
    loops._folder.cache_clear()
    found = loops._folder()
    monkeypatch.setattr(loops, "private_folder", lambda: None)
    loops._folder.cache_clear()
    nothing = loops._folder()
    loops._folder.cache_clear()
    assert found is not None
    assert Path(found).parent == private
    assert nothing is None


def test_the_folder_depends_on_all_modules_with_loops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loops, "__file__", str(tmp_path / "base" / "loops.py"))
    other = tmp_path / "other.py"
    found = []
    for text in ("from specdiffd.base import loops", "from specdiffd.base import loops\nX = 1", "from specdiffd.base import loops"):
        other.write_text(text)
        loops._folder.cache_clear()
        found.append(loops._folder())
    loops._folder.cache_clear()
    assert found[0] == found[2] != found[1]
    assert found[0] is not None
    assert found[0].startswith(str(tmp_path))


def test_code_of_other_versions_is_removed_a_month_after_its_last_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = time.time() - 31 * 86400
    for name in ("loops-mine", "loops-old", "loops-used", "loops-half", "other"):
        (tmp_path / name).mkdir()
        if name != "loops-half":
            (tmp_path / name / loops.COMPLETE).touch()
            os.utime(tmp_path / name / loops.COMPLETE, (long_ago, long_ago))
        os.utime(tmp_path / name, (long_ago, long_ago))
    monkeypatch.setattr(loops, "_folder", lambda: str(tmp_path / "loops-used"))
    with loops.compiled_once(lambda _: None):
        pass
    (tmp_path / "loops-mine" / loops.COMPLETE).unlink()
    monkeypatch.setattr(loops, "_folder", lambda: str(tmp_path / "loops-mine"))
    with loops.compiled_once(lambda _: None):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["loops-mine", "loops-used", "other"]
