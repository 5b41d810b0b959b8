"""What decides where things run; the runs themselves are in `elsewhere`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from specdiffd.backends import precision
from specdiffd.train.loop import reduced_precision

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "specdiffd"


def test_whatever_runs_here_runs_on_a_second_device() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not gpu", TESTS / "elsewhere"]
    result = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


def test_files_are_loaded_to_a_device_that_is_there() -> None:
    """All of them, and nothing but weights."""
    calls = [
        (path.name, {keyword.arg for keyword in node.keywords})
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert calls
    assert all({"map_location", "weights_only"} <= given for _, given in calls), calls


# -- precision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hip", "capability", "faster"),
    [(None, (7, 5), False), (None, (8, 0), True), (None, (9, 0), True), ("6.4", (9, 0), True), ("6.4", (7, 0), True)],
)
def test_a_gpu_has_units_for_bfloat16_or_not(
    monkeypatch: pytest.MonkeyPatch, hip: str | None, capability: tuple[int, int], faster: bool
) -> None:
    """Nothing is timed there: what launches of small kernels take says nothing of it."""
    asked: list[str] = []
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    monkeypatch.setattr(precision.time, "perf_counter", None)
    assert precision.bfloat16_is_faster.__wrapped__("cuda:1") == faster
    assert asked == ([] if hip else ["cuda:1"])
    assert not precision.bfloat16_is_faster.__wrapped__("mps")


def test_one_gpu_of_several_can_be_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast knows kinds of devices only, the choice of precision the device itself."""
    asked: list[str] = []
    monkeypatch.setattr("specdiffd.train.loop.bfloat16_is_faster", lambda device: bool(asked.append(device)))
    for device in ("cuda:1", torch.device("cuda:1")):
        assert reduced_precision(device).device == "cuda"
    assert asked == ["cuda:1", "cuda:1"]
