"""Generated pages are up to date, and their tables describe every request, topic and error code."""

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator

from pages import ROOT

from specdiffd.control.protocol import COMMANDS

TABLES = runpy.run_path(str(ROOT / "docs/generate/tables.py"))
NAME = re.compile(r"[a-z]+(_[a-z]+)*")


def test_pages_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, "docs/generate", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def names_given_to(*functions: str) -> Iterator[str]:
    """Texts that look like names among the arguments of calls of these functions or methods, in the whole package."""
    for path in (ROOT / "specdiffd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in functions:
                texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                yield from (text for text in texts if NAME.fullmatch(text))


def test_every_request_is_described() -> None:
    assert TABLES["REQUESTS"].keys() == COMMANDS.keys()


def test_every_topic_is_described() -> None:
    assert TABLES["TOPICS"].keys() == set(names_given_to("publish"))


def test_every_error_code_is_described() -> None:
    assert TABLES["CODES"].keys() == set(names_given_to("ControlError", "refusal", "_decoded"))
