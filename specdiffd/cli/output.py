"""What commands print: lines for people, JSON for programs, progress bars on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import typer

from specdiffd.base.text import printable


def show(value: Any, lines: Iterable[str], as_json: bool) -> None:
    """Print ``value`` as one line of JSON, or ``lines`` for people."""
    if as_json:
        typer.echo(json.dumps(value))
    for line in lines if not as_json else ():
        say(line)


def say(line: str, err: bool = False) -> None:
    """Print a line for people. It may hold names of files, ports and devices, so it is made printable."""
    typer.echo(printable(line), err=err)


def tell(text: str) -> None:
    """Print a line on standard error. If that is closed or full, the command goes on."""
    with suppress(OSError):
        typer.echo(text, err=True)


def warn(warnings: Iterable[str]) -> None:
    """Print warnings on standard error, each under the program's name."""
    for warning in warnings:
        tell(f"specdiffd: {printable(warning)}")


def readable(value: dict[str, Any], prefix: str = "") -> list[str]:
    """Nested mappings as lines ``outer.inner: value``."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += readable(item, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}: {item}")
    return lines


def progress_bar(show: bool, unit: str) -> Any:
    """A rich ``Progress`` on standard error, which is drawn only on a terminal. Its tasks count in ``unit``; their total may come later."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not (show and console.is_terminal))
