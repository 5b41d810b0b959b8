import ast
import os
import random
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml
from virtual_stream import VirtualStream

from specdiffd.base.config import Config, check_config, load_config, user_config
from specdiffd.base.errors import ConfigError
from specdiffd.base.events import Controllers, Event, Note, Performance
from specdiffd.instruments.sine import SineInstrument
from specdiffd.player.engine import Engine
from specdiffd.player.settings import settings_for
from specdiffd.shared.timeline import Timeline

SHIPPED = Path(__file__).parents[2] / "config.yaml"


def test_the_shipped_file_holds_every_key_with_its_default() -> None:
    shipped = yaml.safe_load(SHIPPED.read_text())
    assert msgspec.json.encode(shipped) == msgspec.json.encode(Config())
    assert load_config(SHIPPED) == Config()


def test_overrides_win_and_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("audio: {block_size: 128, device: jack}\nmidi:\n")
    config = load_config(path, ["audio.block_size=64", "engine.render_delay_ms=40", "midi.connect=[KeyLab]", "audio.limiter=false"])
    assert (config.audio.block_size, config.audio.device, config.audio.limiter) == (64, "jack", False)
    assert config.engine.render_delay_ms == 40
    assert config.midi.connect == ("KeyLab",)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"audo": {}}, "unknown section audo; did you mean audio?"),
        ({"audio": {"blocksize": 1}}, "unknown key audio.blocksize; did you mean block_size?"),
        ({"audio": {"block_size": "big"}}, "audio.block_size: Expected `int`, got `str`"),
        ({"audio": {"block_size": 3}}, "audio.block_size: Expected `int` >= 16"),
        ({"audio": 3}, "section audio should hold keys, found 3"),
        ({"engine": {"hop_frames": 100}}, "engine.hop_frames 100 must divide a window of 256 frames"),
        ({"midi": {"api": "usb"}}, "midi.api: Invalid enum value 'usb'"),
        ({"control": {"curve_keys": "/keys"}}, "control.curve_keys '/keys': encrypted connections are not there yet, expected null"),
        ({"control": {"curve_keys": ""}}, "control.curve_keys '': encrypted connections are not there yet, expected null"),
        ({"instrument": {"seed": 2**63}}, "instrument.seed: Expected `int` <= 9223372036854775807"),
        ({"instrument": {"name": "a\0b"}}, "instrument.name 'a\\x00b': expected text without control characters"),
        ({"midi": {"connect": ["KeyLab", "\x1b[2J"]}}, "midi.connect '\\x1b[2J': expected text without control characters"),
        ({"audio": {"device": "\ud800"}}, "audio.device '\\ud800': expected text without control characters"),
        ({"audio": ["x" * 100_000] * 1000}, "section audio should hold keys, found ["),
        ({"x" * 100_000: {}}, "; valid: instrument, midi"),
    ],
)
def test_wrong_keys_and_values_are_named(raw: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_config(raw, "file")
    assert says in str(error.value)
    assert len(str(error.value)) < 500


def test_every_key_is_read_by_something() -> None:
    package = SHIPPED.parent / "specdiffd"
    read = {
        node.attr
        for path in package.rglob("*.py")
        if path.name != "config.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    keys = {key for section in Config.__struct_fields__ for key in getattr(Config(), section).__struct_fields__}
    assert keys - read <= {"curve_keys"}  # reserved, as its error says


@pytest.mark.parametrize("rate_hz", [96000, 192000])
def test_the_longest_forecast_that_is_allowed_fits(rate_hz: int) -> None:
    """With a forecast longer than the timeline, audio of the future would be heard."""
    timeline = Timeline()
    timeline.clear()
    with pytest.raises(ConfigError, match=r"forecast_s: .*<= 8"):
        check_config({"engine": {"forecast_s": 8.1}}, "file")
    engine = Engine(SineInstrument(), timeline, settings_for(rate_hz, 8192, 3.0, 8.0, 1))
    stream = VirtualStream(timeline, engine.play, engine.work, sample_rate_hz=rate_hz, block_size=8192, delay_s=0.2)
    heard = stream.run([Event(0.1, 0x90, 61, 127), Event(7.0, 0x80, 61)], 10.0)[:, 0]
    note = Note(0.3, 61, 127, 0, 0, offset_s=7.2)
    expected = SineInstrument.sound(Performance([note], {0: Controllers()}), np.arange(len(heard)) / rate_hz)
    assert np.abs(heard - expected).max() < 1e-5


@pytest.mark.parametrize("text", ["audio", "audio.gain_db", "=3", "audio.=3"])
def test_malformed_overrides_are_explained(text: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        load_config(None, [text])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: [", "c.yaml: line 1"),
        ("- 1", "expected sections with keys"),
        ("\xff", "c.yaml: "),
        ("audio:\n  a: *b", "c.yaml: line 2, column 6: found undefined alias 'b'"),
        ("audio: {? [a] : 1}", "c.yaml: line 1"),
        ("audio: {gain_db: 2024-99-99}", "c.yaml: .*month must be in 1..12"),
        ("audio: {gain_db: !!int x}", "c.yaml: .*invalid literal"),
        ("audio: {gain_db: !!bool x}", "c.yaml: .*KeyError"),
        ("audio: {gain_db: !!timestamp x}", "c.yaml: .*AttributeError"),
        ("audio: {gain_db: !!float x}", "c.yaml: .*could not convert"),
        ("audio: {gain_db: 0b_}", "c.yaml: .*invalid literal"),
        ("audio: {gain_db: %s}" % ("9" * 5000), "c.yaml: .*4300"),
        ("[" * 5000, "c.yaml: nested too deeply"),
        ("{a: " * 5000, "c.yaml: nested too deeply"),
        ("&a [*a]", "expected sections with keys"),
        ("audio: &a [*a]", "section audio should hold keys"),
        ("audio: {gain_db: .nan}", "audio.gain_db: Expected `float`"),
        ("audio: {gain_db: .inf}", "audio.gain_db: Expected `float`"),
        ('audio: {device: "\\ud800"}', "control characters"),
        ('"\\x1b[31m": {}', r"unknown section \\x1b\[31m"),
        ('audio: {"a\\nb": 1}', r"unknown key audio\.a\\nb"),
        ("#" * (1 << 20) + "\n", "more than 1048576 bytes"),
        ("audio: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        (
            "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 60)) + "audio: *a59",
            "unknown section a0",
        ),
        (
            "midi:\n  connect:\n  - &a0 [x, x]\n" + "".join(f"  - &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 60)),
            r"midi\.connect\[0\]: Expected `str`, got `array`",
        ),
        (
            "audio:\n  - &a0 [x, x]\n" + "".join(f"  - &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 60)),
            "section audio should hold keys, found ",
        ),
    ],
    ids=lambda text: text[:40],
)
def test_broken_files_are_named_in_one_short_line(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=says) as error:
        load_config(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1600


@pytest.mark.parametrize("value", ["[", "2024-99-99", "!!bool x", "[" * 5000, "9" * 5000, "\x07", "\udcff"])
def test_broken_overrides_are_named(value: str) -> None:
    with pytest.raises(ConfigError, match=r"override 'audio\.gain_db=") as error:
        load_config(None, [f"audio.gain_db={value}"])
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1600


def test_a_folder_or_a_device_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="more than"):
        load_config(Path("/dev/zero"))


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    rng = random.Random(7)
    shipped = SHIPPED.read_bytes()
    found = Counter[str]()
    for _ in range(150):
        data = bytearray(shipped)
        for _ in range(rng.choice([1, 3, 20])):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(4)] = rng.choice(
                [rng.randbytes(2), b"[", b"!!", b"&a ", b"*a", b"\n", b"\t", b"\xff", b": ", b"- "]
            )
        (tmp_path / "c.yaml").write_bytes(data)
        try:
            load_config(tmp_path / "c.yaml")
            found["read"] += 1
        except ConfigError as error:
            assert str(error).isprintable()
            found["refused"] += 1
    assert min(found["read"], found["refused"]) > 10


def test_a_missing_file_is_an_error_but_the_users_file_need_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="not found"):
        load_config(tmp_path / "none.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_config() is None
    (tmp_path / "specdiffd").mkdir()
    (tmp_path / "specdiffd" / "config.yaml").write_text("")
    assert user_config() == tmp_path / "specdiffd" / "config.yaml"
    assert load_config(user_config()) == Config()


def test_an_account_without_a_home_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container a process may have a user id without an account."""
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert user_config() is None


def test_a_folder_that_cannot_be_looked_into_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold a configuration, which must not be replaced by the defaults in silence."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere")
    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(ConfigError, match=r"/somewhere/specdiffd/config\.yaml: Permission denied"):
        user_config()
