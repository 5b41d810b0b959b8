"""Output that cannot be written gives one clear line and exit code 1; a reader that has gone gives no line."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mido
import pytest
import torch

from specdiffd import cli
from specdiffd.base.errors import SpecdiffdError
from specdiffd.control.client import ControlClient
from specdiffd.demo.play import recorded
from specdiffd.instruments.checkpoint import save_component
from specdiffd.shared.block import SharedBlock
from specdiffd.train.loop import Run, read_state

PRINTS = [
    "--version",
    "--help",
    "tokens SONG",
    "tokens SONG --json",
    "ports",
    "devices --json",
    "instruments list",
    "render SONG -o OUT",
]


@pytest.fixture
def song(tmp_path: Path) -> Path:
    file = mido.MidiFile()
    file.tracks.append(mido.MidiTrack([mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=100)]))
    file.save(tmp_path / "song.mid")
    return tmp_path / "song.mid"


def call(words: str, song: Path, closed: tuple[int, ...] = (), **options: Any) -> tuple[int, str, str]:
    """Exit code, output and our own lines on standard error of a command whose descriptors ``closed`` are closed."""
    places = {"SONG": str(song), "OUT": str(song.with_suffix(".wav"))}
    command = [sys.executable, "-m", "specdiffd", *(places.get(word, word) for word in words.split())]
    close: Callable[[], None] | None = (lambda: [os.close(k) for k in closed]) if closed else None  # type: ignore[assignment, func-returns-value]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(command, text=True, timeout=120, check=False, preexec_fn=close, **{**pipes, **options})
    assert "Traceback" not in (done.stderr or "")
    assert "Exception ignored" not in (done.stderr or "")
    return done.returncode, done.stdout, "".join(k for k in (done.stderr or "").splitlines(True) if k.startswith("specdiffd: "))


@pytest.mark.parametrize("words", PRINTS)
def test_a_full_disk_is_one_line(words: str, song: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert call(words, song, stdout=full) == (1, None, "specdiffd: cannot write the output: No space left on device\n")


@pytest.mark.parametrize("words", PRINTS[:4])
def test_a_closed_output_is_one_line(words: str, song: Path) -> None:
    assert call(words, song, closed=(1,)) == (1, "", "specdiffd: cannot write the output: Bad file descriptor\n")


@pytest.mark.parametrize("words", PRINTS[:4])
def test_a_reader_that_has_gone_gives_no_message(words: str, song: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    assert call(words, song, stdout=writes) == (1, None, "")
    os.close(writes)


@pytest.mark.parametrize("words", ["tokens SONG", "ctl ping --timeout 0.1", "render nothing.mid"])
def test_a_closed_standard_error_changes_nothing(words: str, song: Path) -> None:
    code, printed, _ = call(words, song)
    assert call(words, song, closed=(2,))[:2] == (code, printed)
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert call(words, song, stderr=full)[:2] == (code, printed)


def test_names_that_are_no_text_are_printed_escaped(song: Path) -> None:
    odd = song.with_name(os.fsdecode(b"\xff.mid"))
    song.rename(odd)
    code, printed, _ = call("render SONG", odd)
    assert code == 0
    assert "\\udcff.wav: " in printed


def test_a_daemon_without_standard_streams_keeps_their_places_free(tmp_path: Path) -> None:
    """C libraries write to descriptor 2, whatever file has it."""
    settings = ("midi.api=none", "audio.device=null", "engine.render_delay_ms=60")
    command = [sys.executable, "-m", "specdiffd", "run", "--fake", *(word for x in settings for word in ("-o", x))]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, preexec_fn=lambda: os.closerange(0, 3))
    try:
        address, deadline = tmp_path / "specdiffd" / "control.sock", time.monotonic() + 60
        while not address.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with ControlClient(f"ipc://{address}", timeout_s=60) as client:
            status = client.call("status")
            children = [pid for pid in status["processes"].values() if pid is not None]
            for pid in (process.pid, *children):
                assert [os.readlink(f"/proc/{pid}/fd/{k}") for k in range(3)] == ["/dev/null"] * 3
            client.call("shutdown")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


# -- files -------------------------------------------------------------------------------------------------------


@contextmanager
def full_disk() -> Iterator[None]:
    """A context in which no file can grow beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_that_cannot_be_saved_keeps_the_one_before(tmp_path: Path) -> None:
    run = Run(tmp_path, torch.nn.Linear(100, 100), {}, 1.0, {"before": True})
    run.save()
    full = Run(tmp_path, torch.nn.Linear(100, 100), {}, 1.0, {"before": False})
    with full_disk(), pytest.raises(SpecdiffdError, match=r"cannot write .*state\.pt"):
        full.save()
    assert read_state(tmp_path / "state.pt")["config"] == {"before": True}
    assert not (tmp_path / "state.partial").exists()


def test_weights_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(SpecdiffdError, match=r"cannot write .*safetensors"):
        save_component(tmp_path, {}, {"weight": torch.zeros(100, 100)})


def test_a_recording_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SpecdiffdError, match=r"cannot write .*nothing/out\.wav"),
        recorded(SharedBlock().played, 48000, tmp_path / "nothing" / "out.wav"),
    ):
        pass


@pytest.mark.parametrize(
    "words",
    [
        "render SONG -o /proc/nothing/here",
        "render SONG -o /proc/nothing/here.wav",
        "evaluate SONG --report /proc/nothing/here",
        "instruments convert builtin /proc/nothing/here",
        "demo -O /proc/nothing/here",
        "train prior --run /proc/nothing/here --pieces 1",
    ],
)
def test_places_that_cannot_be_written_to_are_named(
    words: str, song: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["specdiffd", *(str(song) if word == "SONG" else word for word in words.split())])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("specdiffd: ")]
    assert "/proc/nothing" in line
