"""``specdiffd ctl``: one request to the running daemon."""

from __future__ import annotations

import difflib
import json
from typing import Annotated, Any

import typer

from specdiffd.base.errors import ControlError, UsageError
from specdiffd.base.text import clipped, printable
from specdiffd.cli.options import JsonFlag
from specdiffd.cli.output import readable

LONGEST_TIMEOUT_S = 3600  # a timeout of some weeks, in milliseconds, would overflow in libzmq


def ctl(
    verb: Annotated[str, typer.Argument(help="ping status panic note_on note_off program midi gain set get shutdown")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARG ...]", help="In the order of the command's fields, or name=value.")
    ] = None,
    endpoint: Annotated[str, typer.Option("--endpoint", help="Where the daemon listens.")] = "auto",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the reply.")] = 5.0,
    as_json: JsonFlag = False,
) -> None:
    """Send one request to the running daemon: specdiffd ctl note_on 60 100."""
    from specdiffd.control.address import address
    from specdiffd.control.client import ControlClient, await_server

    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise UsageError(f"--timeout {timeout_s}: expected seconds, more than 0 and {LONGEST_TIMEOUT_S} at most")
    values = typed_arguments(verb, arguments or [])
    found = address("--endpoint", endpoint, "control")
    await_server(found, endpoint == "auto", timeout_s)
    with ControlClient(found.text, timeout_s) as client:
        result = client.call(verb, **values)
    for line in _lines(result, as_json):
        typer.echo(line)


def typed_arguments(verb: str, given: list[str]) -> dict[str, Any]:
    """Words of the command line as the arguments of a request: in the order of its fields, or ``name=value``.

    Raises:
        UsageError: the verb is unknown, or there are too many words.
        ConfigError: a word is not a YAML value.
    """
    fields = _fields(verb)
    values: dict[str, Any] = {}
    for word in given:
        name, equals, text = word.partition("=")
        if equals and name in fields:
            values[name] = _value(word, text)
            continue
        rest = [f for f in fields if f not in values]
        if not rest:
            raise UsageError(f"{verb} takes {', '.join(fields) or 'no arguments'}; {word!r} is too much")
        values[rest[0]] = _value(word, word)
    return values


def _fields(verb: str) -> tuple[str, ...]:
    from specdiffd.control.protocol import COMMANDS

    if verb not in COMMANDS:
        near = difflib.get_close_matches(verb, COMMANDS, n=1)
        raise UsageError(f"unknown verb {verb!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"))
    return COMMANDS[verb].__struct_fields__


def _value(word: str, text: str) -> Any:
    from specdiffd.base.yaml_files import parse_yaml

    return parse_yaml(text, f"argument {clipped(word, 100)!r}")


def _lines(result: Any, as_json: bool) -> list[str]:
    """A result as printable lines.

    Raises:
        ControlError: it is nested too deeply to be printed.
    """
    try:
        if as_json:
            return json.dumps(result, indent=2).splitlines()  # ASCII only
        lines = readable(result) if isinstance(result, dict) else [] if result is None else [str(result)]
    except RecursionError as error:
        raise ControlError("bad_reply", "the reply is nested too deeply to be printed") from error
    return [printable(line) for line in lines]
