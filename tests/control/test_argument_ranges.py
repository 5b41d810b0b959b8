"""Every number that a request may hold has a range, whose ends are taken and whose neighbours are refused by name."""

import json
from typing import Any, get_type_hints

import msgspec
import pytest

from specdiffd.base.errors import ControlError
from specdiffd.control.protocol import COMMANDS, Arguments, parse

RANGES = [
    ("note_on", "pitch", 0, 127),
    ("note_on", "velocity", 1, 127),
    ("note_on", "channel", 1, 16),
    ("note_off", "pitch", 0, 127),
    ("note_off", "channel", 1, 16),
    ("program", "program", 0, 127),
    ("program", "channel", 1, 16),
    ("midi", "status", 0x80, 0xEF),
    ("midi", "data1", 0, 127),
    ("midi", "data2", 0, 127),
    ("gain", "db", -96, 24),
]
REQUIRED: dict[str, dict[str, Any]] = {
    "note_on": {"pitch": 60},
    "note_off": {"pitch": 60},
    "program": {"program": 0},
    "midi": {"status": 0x90},
    "set": {"key": "a", "value": 1},
    "get": {"key": "a"},
}


def arguments(command: str, **values: object) -> Arguments:
    message = {"v": 1, "id": 0, "cmd": command, "args": {**REQUIRED.get(command, {}), **values}}
    return parse(json.dumps(message).encode())[1]


@pytest.mark.parametrize(("command", "name", "low", "high"), RANGES)
def test_the_ends_of_a_range_belong_to_it(command: str, name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(arguments(command, **{name: value}), name) == value


@pytest.mark.parametrize(("command", "name", "low", "high"), RANGES)
def test_what_lies_outside_is_refused_with_the_arguments_name(command: str, name: str, low: int, high: int) -> None:
    for value in (low - 1, high + 1, 1 << 40, "60", [60], True):
        with pytest.raises(ControlError, match=rf"{command}: .*\$\.{name}") as error:
            arguments(command, **{name: value})
        assert error.value.code == "bad_arguments"


def test_no_number_is_forgotten() -> None:
    numbers = {
        (command, name)
        for command, kind in COMMANDS.items()
        for name, hint in get_type_hints(kind).items()
        if hint in (int, float, float | None)
    }
    assert numbers == {(command, name) for command, name, _, _ in RANGES}


@pytest.mark.parametrize("command", COMMANDS)
def test_arguments_of_other_names_are_refused(command: str) -> None:
    with pytest.raises(ControlError, match=f"{command}: .*loudness"):
        arguments(command, loudness=1)


@pytest.mark.parametrize("command", [c for c in REQUIRED if c not in ("set",)])
def test_what_a_command_needs_is_named(command: str) -> None:
    (name,) = REQUIRED[command]
    with pytest.raises(ControlError, match=f"missing required field `{name}`"):
        parse(json.dumps({"v": 1, "id": 0, "cmd": command}).encode())


@pytest.mark.parametrize("value", [True, 3, 2.5, "x", ""])
def test_a_setting_keeps_its_type(value: object) -> None:
    found = arguments("set", key="midi.port", value=value)
    assert msgspec.to_builtins(found) == {"key": "midi.port", "value": value}
    assert type(found.value) is type(value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
def test_a_setting_is_one_value(value: object) -> None:
    with pytest.raises(ControlError, match=r"set: .*\$\.value"):
        arguments("set", key="a", value=value)


def test_a_gain_may_be_left_out() -> None:
    assert arguments("gain") == arguments("gain", db=None)
    assert arguments("gain", db=-3).db == -3.0  # type: ignore[attr-defined]
