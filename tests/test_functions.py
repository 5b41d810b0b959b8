"""Functions are short enough to read at a glance."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "specdiffd"
MOST_LINES = 40


def test_no_function_is_long() -> None:
    long = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}: {lines} lines"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES
    ]
    assert not long, "\n".join(long)
