import json
from pathlib import Path

import mido
import pytest
import soundfile
from typer.testing import CliRunner

from specdiffd import __version__, cli
from specdiffd.errors import SpecdiffdError, UsageError


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


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["render", "none.mid"], 2, "none.mid does not exist"),
        (["render", "BROKEN"], 1, "not a MIDI file"),
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
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    words: list[str], code: int, says: str, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mid"
    broken.write_bytes(b"RIFF")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["specdiffd", *({"SONG": str(song), "BROKEN": str(broken)}.get(w, w) for w in words)])
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
    assert cli._ctl_arguments(verb, words) == arguments


def test_exit_codes_are_the_documented_ones() -> None:
    codes = {kind.__name__: kind.exit_code for kind in (SpecdiffdError, *SpecdiffdError.__subclasses__())}
    assert codes == {
        "SpecdiffdError": 1, "ConfigError": 2, "UsageError": 2, "MidiFileError": 1, "CheckpointError": 3, "DeviceError": 3, "Interrupted": 1, "ControlError": 1,
    }  # fmt: skip
    assert issubclass(UsageError, SpecdiffdError)
