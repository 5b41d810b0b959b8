"""The bundled performance, and the command that plays it."""

import json
import struct
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from specdiffd import cli
from specdiffd.base.errors import MidiFileError
from specdiffd.base.messages import CONTROL, DRUM_CHANNEL, NOTE_ON, PROGRAM
from specdiffd.demo.compose import compose
from specdiffd.demo.play import PERFORMANCE, read_events


def test_the_performance_is_what_the_composer_writes(tmp_path: Path) -> None:
    compose().save(tmp_path / "again.mid")
    assert (tmp_path / "again.mid").read_bytes() == PERFORMANCE.read_bytes()


def test_the_performance_shows_the_instrument() -> None:
    file = mido.MidiFile(PERFORMANCE)
    assert 110 < file.length < 130
    events = read_events(PERFORMANCE, None)
    kinds = [(m[0] & 0xF0, m[0] & 0x0F, *m[1:]) for _, m in events]
    assert len({k[2] for k in kinds if k[0] == PROGRAM}) >= 8
    assert any(k[0] == NOTE_ON and k[1] == DRUM_CHANNEL for k in kinds)
    assert any(k[0] == CONTROL and k[2] == 64 and k[3] >= 64 for k in kinds)
    velocities = [k[3] for k in kinds if k[0] == NOTE_ON and k[3]]
    assert max(velocities) - min(velocities) > 50


def test_reading_stops_in_time_and_ends_every_note() -> None:
    events = read_events(PERFORMANCE, 3.0)
    assert events[-1][0] == 3.0
    assert [m for _, m in events[-2:]] == [[0xBF, 64, 0], [0xBF, 123, 0]]


@pytest.mark.parametrize("content", [b"", b"MThd", b"MThd" + struct.pack(">IHHH", 6, 0, 0, 96)])
def test_a_bad_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.mid").write_bytes(content)
    with pytest.raises(MidiFileError, match=r"bad\.mid"):
        read_events(tmp_path / "bad.mid", None)


def test_the_demo_leaves_recording_picture_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("FORCE_COLOR", "1")  # draws a progress bar, as on a terminal
    (tmp_path / "config.yaml").write_text("audio: {device: null}\nengine: {render_delay_ms: 60}")
    words = ["demo", "-O", str(tmp_path / "out"), "--seconds", "3", "-c", str(tmp_path / "config.yaml")]
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    audio, rate = soundfile.read(tmp_path / "out" / "recording.wav")
    assert 3 < len(audio) / rate < 12
    assert np.abs(audio).max() > 0.003
    assert (tmp_path / "out" / "spectrogram.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["counters"]["events"] > 10
    assert figures["render_delay_ms"] == 60
    assert "s through the " in result.output  # the MIDI port or the control socket
    assert all(name in result.output for name in ("recording.wav", "spectrogram.png", "figures.json"))
