"""A daemon with sines on an output that only keeps time, and what it has recorded."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from specdiffd.control.client import ControlClient


def wait_until(condition: Any, timeout_s: float = 20.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@contextmanager
def daemon(
    folder: Path, *options: str, environment: dict[str, str] | None = None, fake: bool = True
) -> Iterator[tuple[subprocess.Popen[str], ControlClient]]:
    """A running daemon and a client of it; measuring the render delay, which takes ten seconds, must be asked for."""
    what = ["--fake"] if fake else []
    usual = ("midi.api=none", "audio.device=null", "engine.render_delay_ms=60")
    command = [sys.executable, "-m", "specdiffd", "run", *what, *(w for x in usual for w in ("-o", x)), *options]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "XDG_RUNTIME_DIR": str(folder), **(environment or {})}
    )
    try:
        wait_until(lambda: (folder / "specdiffd" / "control.sock").exists() or process.poll() is not None)
        with ControlClient(f"ipc://{folder}/specdiffd/control.sock", timeout_s=30) as client:
            client.call("ping")
            yield process, client
    finally:
        if process.poll() is None:
            process.terminate()
        _, said = process.communicate(timeout=20)
        sys.stderr.write(said)


def children(client: ControlClient) -> dict[str, int]:
    """Process ids by name."""
    return {name: pid for name, pid in client.call("status")["processes"].items() if pid is not None}


def loudness(recording: Path, block_s: float = 0.02) -> np.ndarray:
    """Peaks of the blocks of a recording that is still being written, or was when its writer died."""
    raw = np.frombuffer(recording.read_bytes()[44:], "<i2")
    audio = np.abs(raw[: len(raw) // 2 * 2].reshape(-1, 2).max(1) / 32768)
    block = round(block_s * 48000)
    return audio[: len(audio) // block * block].reshape(-1, block).max(1)
