"""Imports run one way, and the help loads no large libraries."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "specdiffd"
# Bottom to top: what each package, or module at the top, may import besides `base` and itself.
SOUND = {"midi", "tokens", "dsp", "backends", "diffusion", "prior", "vocoder"}
MAY: dict[str, set[str]] = {
    "__init__": set(),
    "base": set(),
    "weights": set(),
    "midi": set(),
    "dsp": set(),
    "shared": set(),
    "tokens": set(),
    "backends": set(),
    "control": set(),
    "diffusion": {"backends"},
    "prior": set(),
    "vocoder": {"dsp", "backends"},
    "instruments": SOUND,
    "io": {"shared", "midi", "dsp"},
    "player": {"shared", "midi", "dsp", "instruments"},
    "daemon": {"shared", "io", "control", "player"},
    "render": {"midi", "dsp", "instruments", "player"},
    "reference": {"midi", "dsp"},
    "bench": SOUND | {"shared", "instruments", "player"},
    "train": SOUND | {"instruments", "reference"},
    "evaluate": SOUND | {"instruments", "reference", "render"},
    "demo": {"midi", "shared", "io", "control", "daemon"},
}
MAY["cli"] = set(MAY)
MAY["__main__"] = {"cli"}


def part(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("specdiffd"):
            names = node.module.split(".")
            found |= {names[1]} if len(names) > 1 else {a.name for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("specdiffd.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    name = part(path)
    assert name in MAY, f"{name} has no place in the order of imports"
    strangers = imported(path) - MAY[name] - {"base", name}
    assert not strangers, f"{path.name} imports {strangers}"


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nsys.stdout.write(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split())


def test_help_is_light() -> None:
    code = "from typer.testing import CliRunner\nfrom specdiffd.cli import app\nassert CliRunner().invoke(app, ['--help']).exit_code == 0"
    loaded = modules_after(code)
    assert not loaded & {"torch", "sounddevice", "rtmidi", "note_seq", "zmq", "numpy"}


def test_the_io_process_has_no_torch() -> None:
    loaded = modules_after("import specdiffd.io.process")
    assert not loaded & {"torch", "note_seq"}


def test_the_supervisor_has_no_torch() -> None:
    assert "torch" not in modules_after("import specdiffd.daemon.supervisor")


def test_the_supervisor_has_no_numpy() -> None:
    assert "numpy" not in modules_after("import specdiffd.daemon.supervisor")


def test_run_with_fake_has_no_torch() -> None:
    loaded = modules_after("import specdiffd.daemon.supervisor, specdiffd.player.worker, specdiffd.instruments.sine")
    assert "torch" not in loaded


def test_the_engine_process_has_no_note_seq() -> None:
    assert "note_seq" not in modules_after("import specdiffd.player.worker, specdiffd.instruments.builtin")
