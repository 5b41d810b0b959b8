"""Folders and configs of checkpoints: what is missing or wrong is named with its file and key."""

import json
from pathlib import Path

import msgspec
import pytest

from specdiffd.base.errors import CheckpointError
from specdiffd.instruments.layout import (
    BUILTIN,
    STAND_IN,
    WindowLength,
    checkpoint_folder,
    pulled_folder,
    read_config,
    read_json,
    write_json,
)


class Sizes(msgspec.Struct, frozen=True):
    width: int = 7
    name: str = "x"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    write_json(path, {"width": 3, "unknown": [1, 2], "inner": {"width": 9}, "plain": 5})
    return path


def test_fields_that_are_missing_take_their_defaults_and_others_are_ignored(config: Path) -> None:
    assert read_config(config, Sizes) == Sizes(width=3, name="x")


def test_an_object_under_a_key_may_be_there_or_not(config: Path) -> None:
    assert read_config(config, Sizes, "inner") == Sizes(width=9)
    assert read_config(config, Sizes, "missing") == Sizes()
    with pytest.raises(CheckpointError, match=f"{config}: plain should be an object, found 5"):
        read_config(config, Sizes, "plain")


@pytest.mark.parametrize(("content", "says"), [({"width": "3"}, r"Expected `int`, got `str` - at `\$.width`"), ({"name": 1}, r"`\$.name`")])
def test_a_field_of_another_type_is_named(tmp_path: Path, content: dict[str, object], says: str) -> None:
    path = tmp_path / "config.json"
    write_json(path, content)
    with pytest.raises(CheckpointError, match=f"{path}: .*{says}"):
        read_config(path, Sizes)


@pytest.mark.parametrize("frames", [0, -5, (1 << 20) + 1])
def test_a_window_has_a_length(tmp_path: Path, frames: int) -> None:
    write_json(tmp_path / "config.json", {"targets_length": frames})
    with pytest.raises(CheckpointError, match="targets_length"):
        read_config(tmp_path / "config.json", WindowLength)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[1]", "expected a JSON object, found list"),
        (b"null", "expected a JSON object, found NoneType"),
        (b"\xff\xfe", "decode"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_holds_something_else_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{path}: .*{says}"):
        read_json(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path}/config.json is missing"):
        read_json(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match=f"{tmp_path}: .*directory"):
        read_json(tmp_path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "ä": {"b": "\u2028"}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value


def test_instruments_are_found_by_name_and_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoint_folder("builtin") == BUILTIN
    assert BUILTIN.is_dir()
    assert STAND_IN.is_dir()
    assert checkpoint_folder(str(tmp_path)) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    assert checkpoint_folder("~/mine") == tmp_path / "mine"


@pytest.mark.parametrize("name", ["/nowhere", "no spaces/allowed here", "one"])
def test_an_instrument_that_is_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"instrument {name!r}: no directory {name}"):
        checkpoint_folder(name)


def test_a_hub_id_that_was_not_pulled_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert pulled_folder("nobody/has-this") is None
    with pytest.raises(CheckpointError, match="not pulled yet: specdiffd instruments pull nobody/has-this"):
        checkpoint_folder("nobody/has-this")
    (tmp_path / "nobody" / "has-this").mkdir(parents=True)  # a folder of this name comes first
    assert checkpoint_folder("nobody/has-this") == Path("nobody/has-this")


def test_a_name_that_is_too_long_for_a_path_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"File name too long|no directory"):
        checkpoint_folder("x" * 5000)
