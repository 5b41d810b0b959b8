from pathlib import Path

import msgspec
import pytest
import yaml

from specdiffd.config import Config, check_config, load_config, user_config
from specdiffd.errors import ConfigError

SHIPPED = Path(__file__).parents[1] / "config.yaml"


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
    ],
)
def test_wrong_keys_and_values_are_named(raw: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_config(raw, "file")
    assert says in str(error.value)


@pytest.mark.parametrize("text", ["audio", "audio.gain_db", "=3", "audio.=3"])
def test_malformed_overrides_are_explained(text: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        load_config(None, [text])


@pytest.mark.parametrize(("content", "says"), [("a: [", "c.yaml"), ("- 1", "expected sections with keys"), ("\xff", "c.yaml")])
def test_broken_files_are_named(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=says):
        load_config(path)


def test_a_missing_file_is_an_error_but_the_users_own_need_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="not found"):
        load_config(tmp_path / "none.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_config() is None
    (tmp_path / "specdiffd").mkdir()
    (tmp_path / "specdiffd" / "config.yaml").write_text("")
    assert user_config() == tmp_path / "specdiffd" / "config.yaml"
    assert load_config(user_config()) == Config()
