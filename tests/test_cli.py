import ast
import inspect
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mido
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from specdiffd import __version__, cli
from specdiffd.base.errors import SpecdiffdError, UsageError
from specdiffd.cli.ctl import typed_arguments
from specdiffd.cli.output import progress_bar
from specdiffd.instruments.layout import BUILTIN, CONFIG, DECODER

CASES = Path(__file__).parent / "cases"


@pytest.fixture
def song(tmp_path: Path) -> Path:
    file = mido.MidiFile(ticks_per_beat=500)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)])
    for pitch in (60, 64, 67):
        track.append(mido.Message("note_on", note=pitch, velocity=90, time=0 if pitch == 60 else 200))
        track.append(mido.Message("note_off", note=pitch, time=100))
    file.tracks.append(track)
    file.save(tmp_path / "song.mid")
    return tmp_path / "song.mid"


def call(*words: str) -> str:
    result = CliRunner().invoke(cli.app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_version() -> None:
    assert call("--version") == f"specdiffd {__version__}\n"


def test_help_lists_the_commands() -> None:
    shown = call("--help")
    assert all(name in shown for name in ("run", "render", "tokens", "ctl", "ports", "devices", "bench", "evaluate", "demo", "train"))


def test_tokens(song: Path) -> None:
    windows = json.loads(call("tokens", str(song), "--json"))
    assert len(windows) == 1
    assert windows[0][-1] == 1
    assert "pitch 60" in call("tokens", str(song))


def test_render(song: Path, tmp_path: Path) -> None:
    (row,) = json.loads(call("render", str(song), "-o", str(tmp_path / "out.wav"), "--json"))
    info = soundfile.info(tmp_path / "out.wav")
    assert row["duration_s"] == pytest.approx(info.duration, abs=0.01)
    assert 0.6 < info.duration < 5
    assert 0.001 < row["peak"] < 1


def test_render_of_a_folder_at_another_rate(song: Path, tmp_path: Path) -> None:
    call("render", str(song.parent), "-o", str(tmp_path / "all"), "--rate", "44100", "--steps", "1", "--seed", "5", "--gain-db", "-6")
    assert soundfile.info(tmp_path / "all" / "song.wav").samplerate == 44100


def test_equal_seeds_give_equal_files(song: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{k}.wav" for k in range(3)]
    for path, seed in zip(files, ("1", "1", "2"), strict=True):
        call("render", str(song), "-o", str(path), "--seed", seed)
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


def test_standard_output_gets_a_whole_wav_file(song: Path) -> None:
    command = [sys.executable, "-m", "specdiffd", "render", str(song), "-o", "-"]
    result = subprocess.run(command, capture_output=True, check=True)
    audio, rate = soundfile.read(io.BytesIO(result.stdout))
    assert rate == 48000
    assert 0.6 < len(audio) / rate < 5
    assert b"real-time factor" in result.stderr


def test_a_folder_renders_all_that_it_can_and_names_the_rest(song: Path, tmp_path: Path) -> None:
    (song.parent / "broken.mid").write_bytes(b"MThd?")
    (song.parent / "empty.mid").write_bytes(b"")
    shutil.copy(song, song.parent / "zong.mid")
    command = [sys.executable, "-m", "specdiffd", "render", str(song.parent), "-o", str(tmp_path / "all")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["song.wav", "zong.wav"]
    lines = result.stderr.strip().splitlines()
    assert lines[-3] == "specdiffd: 2 of 4 songs were not rendered:"
    assert "broken.mid: header" in lines[-2]
    assert "empty.mid: header" in lines[-1]


def test_damage_is_reported(song: Path, tmp_path: Path) -> None:
    song.write_bytes(song.read_bytes() + b"?")
    result = CliRunner().invoke(cli.app, ["tokens", str(song)], catch_exceptions=False)
    assert "1 bytes behind the last chunk" in result.stderr
    assert "pitch 60" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["render", "SONG", "-o", "THERE"], 2, "there.wav exists: --force replaces it"),
        (["render", "SONG", "-o", "x.mp3"], 2, ".mp3 files are not written here"),
        (["render", "SONG", "-o", "/dev/full"], 1, "/dev/full is no folder"),
        (["render", "SONG", "-o", "SONG/a.wav"], 1, "is no folder"),
        (["render", "SONG", "-o", "-", "--json"], 2, "leave one out"),
        (["render", "/dev/zero"], 1, "/dev/zero: header, byte 0: no MIDI file"),
        (["tokens", "/dev/zero"], 1, "/dev/zero: header, byte 0: no MIDI file"),
        (["tokens", "none.mid"], 1, "none.mid: No such file"),
        (["render", "none.mid"], 2, "none.mid does not exist"),
        (["render", "BROKEN"], 1, "broken.mid: header, byte 0: no MIDI file"),
        (["tokens", "SONG", "-m", "/nowhere"], 3, "no directory /nowhere"),
        (["run", "-o", "audio.blok_size=3"], 2, "did you mean block_size?"),
        (["run", "-c", "/nowhere.yaml"], 2, "/nowhere.yaml not found"),
        (["run", "-o", "control.endpoint=tcp://0.0.0.0:1"], 2, "loopback"),
        (["run", "--fake", "-o", "audio.device=no such device"], 3, "no audio device"),
        (["run", "-o", "audio.device=null", "-o", "midi.api=none", "-o", "instrument.name=/nowhere"], 3, "no directory /nowhere"),
        (["ctl", "noteon"], 2, "did you mean note_on?"),
        (["ctl", "ping", "1"], 2, "ping takes no arguments"),
        (["ctl", "ping", "--timeout", "0.1"], 1, "is specdiffd running?"),
        (["ports", "--api", "usb"], 2, "Invalid enum value"),
        (["render", "SONG", "--device", "tpu"], 3, "device 'tpu'"),
        (["render", "SONG", "--dtype", "float16"], 2, "dtype 'float16': expected one of auto, float32, bfloat16"),
        (["tokens", "SONG", "-m", "NO_WINDOW"], 3, "Expected `int` >= 1 - at `$.targets_length`"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    words: list[str], code: int, says: str, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mid"
    broken.write_bytes(b"RIFF")
    there = tmp_path / "there.wav"
    there.write_bytes(b"")
    no_window = tmp_path / "checkpoint"
    shutil.copytree(BUILTIN, no_window, ignore=shutil.ignore_patterns("*.safetensors"))
    (no_window / DECODER / CONFIG).write_text('{"targets_length": 0}')
    for name, path in (("SONG", song), ("BROKEN", broken), ("THERE", there), ("NO_WINDOW", no_window)):
        words = [word.replace(name, str(path)) for word in words]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["specdiffd", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("specdiffd: ")]
    assert len(lines) == 1
    assert says in lines[0]


@pytest.mark.parametrize(
    ("verb", "words", "arguments"),
    [
        ("note_on", ["60", "100"], {"pitch": 60, "velocity": 100}),
        ("note_on", ["60", "channel=3"], {"pitch": 60, "channel": 3}),
        ("gain", ["-6"], {"db": -6}),
        ("set", ["audio.gain_db", "-3.5"], {"key": "audio.gain_db", "value": -3.5}),
        ("panic", [], {}),
    ],
)
def test_words_become_arguments(verb: str, words: list[str], arguments: dict[str, object]) -> None:
    assert typed_arguments(verb, words) == arguments


def test_bars_have_an_end_or_none_yet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    with progress_bar(True, "s") as progress:
        task = progress.add_task("playing", total=None)
        progress.refresh()
        progress.update(task, completed=3.2, total=20.9)
        progress.refresh()
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert re.search(r"playing .* 0/\? +s", shown)
    assert re.search(r"playing .* 3/20 +s", shown)


def commands(app: typer.Typer) -> Iterator[Callable[..., None]]:
    """The functions of all commands, including those in groups."""
    yield from (command.callback for command in app.registered_commands if command.callback is not None)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance)


def test_every_option_is_used() -> None:
    """Each is used in the body of its command."""
    functions = list(commands(cli.app))
    assert len(functions) > 15
    for function in functions:
        (body,) = ast.parse(inspect.getsource(function)).body
        assert isinstance(body, ast.FunctionDef)
        used = {node.id for part in body.body for node in ast.walk(part) if isinstance(node, ast.Name)}
        assert {a.arg for a in body.args.args} <= used, function.__name__


def test_exit_codes_are_the_documented_ones() -> None:
    codes = {kind.__name__: kind.exit_code for kind in (SpecdiffdError, *SpecdiffdError.__subclasses__())}
    assert codes == {
        "SpecdiffdError": 1, "ConfigError": 2, "UsageError": 2, "MidiFileError": 1, "CheckpointError": 3, "DeviceError": 3, "Interrupted": 1, "ControlError": 1,
    }  # fmt: skip
    assert issubclass(UsageError, SpecdiffdError)


@pytest.mark.parametrize("name", ["p05_gap_20h", "p07_late_end_of_track"])
@pytest.mark.parametrize("command", ["render", "tokens"])
def test_damaged_times_are_refused_at_once(tmp_path: Path, command: str, name: str) -> None:
    """Before anything large is loaded: within 200 MB."""
    code = f"""
import re, sys
from pathlib import Path
from specdiffd.cli import main
sys.argv = ["specdiffd", "{command}", "{CASES / name}.mid"]
try:
    main()
except SystemExit as stop:
    print(stop.code, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    exit_code, megabytes = map(int, done.stdout.split())
    assert exit_code == 1
    assert "hours, expected at most 12: a damaged time?" in done.stderr
    assert megabytes < 200
    assert not list(tmp_path.iterdir())
