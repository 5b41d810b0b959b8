"""Imports run one way, and help costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "specdiffd"
BASE = {
    "__init__",
    "errors",
    "events",
    "config",
    "clock",
    "metrics",
    "formats",
    "layout",
    "folders",
    "streams",
    "logs",
    "notify",
    "graph",
    "loops",
    "children",
    "priority",
    "text",
}
STAGES = {"io", "midi", "tokens", "model", "vocoder", "audio"}
# What each part may import besides the base and itself.
MAY = {
    **{name: set() for name in BASE},
    **{name: set() for name in STAGES},
    "io": {"audio", "midi"},  # the reverberation, which runs in the callback; which messages count
    "vocoder": {"audio"},  # the mel's filters: levels are measured as it is
    "instrument": STAGES,
    "published": STAGES | {"instrument"},
    "loading": STAGES | {"instrument", "published"},
    "hub": STAGES | {"instrument", "loading"},
    "fakes": STAGES | {"instrument"},
    "engine": STAGES | {"instrument"},
    "render": STAGES | {"instrument", "published", "engine"},
    "batch": STAGES | {"instrument", "render"},
    "rehearsal": STAGES | {"instrument", "engine"},
    "delay": {"rehearsal"},
    "outbox": set(),
    "worker": STAGES | {"instrument", "loading", "engine", "fakes", "rehearsal", "delay", "outbox"},
    "control": set(),
    "daemon": {"io", "control", "worker"},
    "weights": set(),
    "demo": {"io", "control", "daemon", "midi"},
    "bench": STAGES | {"instrument", "engine", "fakes", "render"},
    "evaluate": STAGES | {"instrument", "engine", "render", "train"},
    "train": STAGES | {"instrument"},
    "cli": None,
}


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
    allowed = MAY[name]
    if allowed is not None:
        strangers = imported(path) - allowed - BASE - {name}
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


def test_the_engine_process_has_no_note_seq() -> None:
    assert "note_seq" not in modules_after("import specdiffd.player.worker, specdiffd.instruments.builtin")
