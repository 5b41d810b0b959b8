"""What commands print: one line of JSON for programs, printable lines for people."""

import json

import pytest

from specdiffd.cli.output import progress_bar, readable, say, show, tell, warn


def test_programs_get_json_and_people_get_lines(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "ä\n", "rates": [1, 2.5]}
    show(value, ["one", "two"], as_json=True)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert printed.count("\n") == 1
    show(value, ["one", "two"], as_json=False)
    assert capsys.readouterr().out == "one\ntwo\n"


def test_lines_that_nobody_wants_are_not_made(capsys: pytest.CaptureFixture[str]) -> None:
    show(1, (str(1 / 0) for _ in range(1)), as_json=True)
    assert capsys.readouterr().out == "1\n"


def test_names_from_outside_move_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    say("port \x1b[2J\r\x07 at\nnight")
    assert capsys.readouterr().out == "port \\x1b[2J\\r\\x07 at\\nnight\n"
    warn(["a \x1b]0;title\x07", "b"])
    assert capsys.readouterr().err == "specdiffd: a \\x1b]0;title\\x07\nspecdiffd: b\n"


def test_errors_and_progress_go_beside_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    say("x", err=True)
    tell("y")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "x\ny\n")


def test_nested_values_are_lines_with_their_keys() -> None:
    value = {"a": 1, "b": {"c": [1, 2], "d": {"e": None}}, "f": {}}
    assert readable(value) == ["a: 1", "b.c: [1, 2]", "b.d.e: None"]
    assert readable({}) == []


def test_a_bar_is_not_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(True, "s") as progress:
        task = progress.add_task("song", total=3.0)
        progress.update(task, completed=2.0)
    printed = capsys.readouterr()
    assert (printed.out, printed.err.strip()) == ("", "")  # rich before 14.3 ends its line all the same
    assert progress.tasks[task].completed == 2.0
