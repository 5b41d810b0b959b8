"""The commands on the pages are valid. They are only parsed, not run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import ROOT, blocks

from specdiffd.base.config import load_config
from specdiffd.cli import app
from specdiffd.cli.ctl import typed_arguments

SHOWN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = {"aconnect", "apt-get", "cp", "git", "jackd", "journalctl", "mkdir", "pip", "pipx", "pre-commit", "systemctl", "ulimit"}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SETTING = re.compile(r"[A-Z_]+=.*")


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each line of a page's ``sh`` blocks."""
    for block in blocks(page):
        if block.language == "sh":
            yield from (words for line in block.text.replace("\\\n", " ").splitlines() if (words := shlex.split(line, comments=True)))


def parse(words: list[str]) -> None:
    """Check a line as far as that is possible without running it.

    Raises:
        AssertionError, Exception of the command line's parser: it would be refused.
    """
    program, *arguments = words
    if SETTING.fullmatch(program) or program == "pw-jack":
        parse(arguments)
    elif program == "specdiffd":
        parse_specdiffd(arguments)
    elif program == "make":
        assert {word for word in arguments if not SETTING.fullmatch(word)} <= TARGETS
    elif program == "pytest":
        assert all((ROOT / word.partition("::")[0]).exists() for word in arguments if "/" in word)
    else:
        assert program in PROGRAMS


def parse_specdiffd(arguments: list[str]) -> None:
    """Parse a command of ours, with its configuration keys and requests."""
    calls: list[dict[str, Any]] = []
    command: Any = typer.main.get_command(app)
    disarm(command, calls)
    command.main(arguments, prog_name="specdiffd", standalone_mode=False)
    given = calls[-1]
    load_config(None, given.get("overrides") or ())
    if "verb" in given:
        typed_arguments(given["verb"], list(given["arguments"] or ()))


def disarm(command: Any, calls: list[dict[str, Any]]) -> None:
    """Let a command, and those below it, record its arguments instead of running."""
    command.callback = lambda **given: calls.append(given)
    for option in command.params:
        option.callback = None
    for below in getattr(command, "commands", {}).values():
        disarm(below, calls)


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse(page: Path) -> None:
    for words in commands(page):
        try:
            parse(words)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{shlex.join(words)}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize(
    "line",
    [
        "specdiffd rendr song.mid",
        "specdiffd render song.mid --loud",
        "specdiffd render",
        "specdiffd bench latency --revisions 1",
        "specdiffd run -o audio.devise=jack",
        "specdiffd ctl note_on 1 2 3 4",
        "make plya",
        "pytest tests/test_nothing.py",
        "rm -r x",
    ],
)
def test_commands_that_do_not_parse_are_found(line: str) -> None:
    with pytest.raises(Exception, match=r".*"):
        parse(shlex.split(line))
