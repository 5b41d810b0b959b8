import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from specdiffd.base.logs import Seldom, set_up_logging


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """The root logger as it was, afterwards."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


EVIL = "\x1b[2Jgone\nERROR root: forged\r\x9b31m\ud800"


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    assert all(line.isprintable() for line in lines), lines
    return lines


def test_a_record_is_one_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info")
    logging.getLogger("specdiffd.test").info("port %s", EVIL)
    (line,) = said(capsys)
    assert "port \\x1b[2Jgone\\nERROR root: forged\\r\\x9b31m\\ud800" in line


def test_a_traceback_is_indented_so_that_nothing_in_it_passes_for_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info")
    try:
        raise ValueError(EVIL)
    except ValueError:
        logging.getLogger("specdiffd.test").exception("failed")
    first, *rest = said(capsys)
    assert first.endswith("ERROR specdiffd.test: failed")
    assert len(rest) > 2
    assert all(line.startswith("    ") for line in rest)
    assert any("ERROR root: forged" in line for line in rest)


def test_the_journal_adds_times_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    set_up_logging("warning")
    logging.getLogger("a").info("not shown")
    logging.getLogger("a").warning("shown")
    assert said(capsys) == ["WARNING a: shown"]


def test_errors_that_outsiders_cause_are_logged_seldom(caplog: pytest.LogCaptureFixture) -> None:
    seldom = Seldom(logging.getLogger("a"), period_s=3600)
    for _ in range(100):
        seldom.error("again")
    assert caplog.messages == ["again"]
    prompt = Seldom(logging.getLogger("a"), period_s=0)
    prompt.error("now", ValueError("x"))
    assert caplog.messages[1:] == ["now"]
    assert caplog.records[1].exc_info is not None


def test_how_many_were_left_out_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    times_s = iter((0.0, 1.0, 2.0, 11.0, 12.0))
    monkeypatch.setattr("specdiffd.base.logs.time", SimpleNamespace(monotonic=lambda: next(times_s)))
    seldom = Seldom(logging.getLogger("a"), period_s=10)
    for _ in range(5):
        seldom.error("again")
    assert caplog.messages == ["again", "again (2 more since the last time)"]


def test_a_log_that_fails_is_no_error() -> None:
    class Broken(logging.Logger):
        def error(self, *arguments: object, **options: object) -> None:
            raise OSError(28, "no space left")

    Seldom(Broken("a")).error("x")


def test_standard_error_that_is_closed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr(sys, "stderr", Closed())
    set_up_logging("info")
    logging.getLogger("a").error("x")
