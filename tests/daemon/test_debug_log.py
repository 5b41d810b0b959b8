"""What is logged: our own from the level on, a line or two an event; of libraries warnings only."""

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import daemon, wait_until

from specdiffd.base.logs import set_up_logging


@pytest.fixture
def loggers() -> Iterator[None]:
    """As they were, afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("specdiffd")
    before = root.level, ours.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    ours.setLevel(before[1])
    root.handlers[:] = before[2]


@pytest.mark.usefixtures("loggers")
@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [("debug", ["debug", "info", "warning", "error"], ["warning", "error"]), ("warning", ["warning", "error"], ["warning", "error"]), ("error", ["error"], ["error"])],
)  # fmt: skip
def test_libraries_are_heard_from_warnings_on(level: str, ours: list[str], theirs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(level)
    for name in ("specdiffd.player.engine", "numba.core.byteflow", "jack"):
        for kind in ("debug", "info", "warning", "error"):
            getattr(logging.getLogger(name), kind)("%s of %s", kind, name)
    said = [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    expected = {"specdiffd.player.engine": ours, "numba.core.byteflow": theirs, "jack": theirs}
    assert said == [f"{kind} of {name}" for name, kinds in expected.items() for kind in kinds]


def test_compiling_is_silent() -> None:
    code = (
        "from specdiffd.base.logs import set_up_logging\nset_up_logging('debug')\nimport numba\nassert numba.njit(lambda x: x + 1)(1) == 2"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_debugging_shows_each_revision_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(tmp_path, "-o", "logging.level=debug", "-o", "engine.render_delay_ms=60", "-o", "engine.standby=false") as (_, client):
        for pitch in (60, 64, 67):
            client.call("note_on", pitch=pitch)
            revised = wait_until(lambda p=pitch: (s := client.call("status")) and any(n["pitch"] == p for n in s["sounding_notes"]) and s)
        wait_until(lambda: client.call("status")["forecast_s"] > 1)
        client.call("shutdown")
    lines = capsys.readouterr().err.splitlines()
    assert all(re.search(r" (DEBUG|INFO) specdiffd\.", line) for line in lines), lines
    found = [line for line in lines if "revision for" in line]
    pattern = r"revision for \d+\.\d{3} s, \d+ frames: took \d+\.\d ms \(sine \d+\.\d, splice \d+\.\d\), slack -?\d+\.\d ms"
    assert all(re.search(pattern, line) for line in found), found
    assert len(found) >= revised["counters"]["revisions"] >= 3
    assert sum(f"process {pid}" in line for line in lines for pid in revised["processes"].values() if pid) == 2
    assert len(lines) < 20 + 3 * len(found)
