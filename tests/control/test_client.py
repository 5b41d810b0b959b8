"""The client and ``specdiffd ctl``: wrong replies, and sockets of other users."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from specdiffd import cli
from specdiffd.base.errors import ControlError
from specdiffd.control.client import ControlClient

EVIL = "\x1b[2J\x1b]0;title\x07\nforged: line\r\x9b31m\u202e"
Answer = Callable[[dict[str, Any]], list[bytes]]


@contextmanager
def answering(path: Path, answer: Answer) -> Iterator[None]:
    """A server that sends any reply."""
    stop = threading.Event()

    def run() -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.linger = 0
            router.bind(f"ipc://{path}")
            there.set()
            while not stop.is_set():
                if router.poll(20):
                    peer, body = router.recv_multipart()
                    for part in answer(json.loads(body)):
                        router.send_multipart([peer, part])

    there = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    assert there.wait(5)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def always(body: bytes) -> Answer:
    return lambda request: [body]


def result(value: Any) -> Answer:
    return lambda request: [json.dumps({"id": request["id"], "ok": True, "result": value}).encode()]


BAD = [
    b"",
    b"\xff",
    b"null",
    b"[]",
    b"{}",
    b'{"id":1,"ok":1}',
    b'{"id":1,"ok":false}',
    b'{"id":1,"ok":false,"error":null}',
    b'{"id":1,"ok":false,"error":[]}',
    b'{"id":1,"ok":false,"error":{}}',
    b'{"id":1,"ok":false,"error":{"code":1,"message":2}}',
    b'{"id":1,"ok":true,"result":"\xff"}',
    b'{"id":1,"ok":true,"result":' + b"[" * 100_000 + b"}",
    b'{"id":1,"ok":true,"result":' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_a_wrong_reply_is_an_error(tmp_path: Path, body: bytes) -> None:
    with answering(tmp_path / "c.sock", always(body)), ControlClient(f"ipc://{tmp_path}/c.sock") as client:
        with pytest.raises(ControlError) as error:
            client.call("ping")
        assert error.value.code == "bad_reply"


def test_a_reply_to_an_earlier_request_is_ignored(tmp_path: Path) -> None:
    late: list[bytes] = []

    def answer(request: dict[str, Any]) -> list[bytes]:
        mine = json.dumps({"id": request["id"], "ok": True, "result": request["cmd"]}).encode()
        if request["cmd"] == "slow":
            late.append(mine)
            return []
        return [*late, mine]

    with answering(tmp_path / "c.sock", answer), ControlClient(f"ipc://{tmp_path}/c.sock", timeout_s=0.3) as client:
        with pytest.raises(ControlError, match="is specdiffd running"):
            client.call("slow")
        assert client.call("ping") == "ping"


def test_replies_to_other_requests_only_are_no_answer(tmp_path: Path) -> None:
    other = b'{"id":"other","ok":true}'
    with (
        answering(tmp_path / "c.sock", lambda request: [other] * 100),
        ControlClient(f"ipc://{tmp_path}/c.sock", timeout_s=0.3) as client,
        pytest.raises(ControlError) as error,
    ):
        client.call("ping")
    assert error.value.code == "no_answer"


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1", "nonsense", "", "ipc://" + "x" * 200])
def test_a_client_of_an_endpoint_that_cannot_be_used_says_so(endpoint: str) -> None:
    with pytest.raises(ControlError) as error:
        ControlClient(endpoint)
    assert error.value.code == "bad_endpoint"


# -- specdiffd ctl -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "specdiffd").mkdir(mode=0o700)
    return tmp_path / "specdiffd"


Ctl = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def ctl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ctl:
    """Runs the command; returns exit code, output and errors, after a check that a terminal obeys nothing in them."""

    def run(*words: str) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr("sys.argv", ["specdiffd", "ctl", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        lines = said.out.split("\n"), said.err.split("\n")
        assert all(line.isprintable() for line in lines[0] + lines[1]), lines
        return int(stop.value.code or 0), lines[0][:-1], lines[1][:-1]

    return run


def test_a_result_is_printed_line_by_line_and_nothing_in_it_is_obeyed(folder: Path, ctl: Ctl) -> None:
    value = {"version": EVIL, EVIL: {"inner": [EVIL, {EVIL: 1}]}, "plain": 3}
    with answering(folder / "control.sock", result(value)):
        code, lines, errors = ctl("status")
        assert (code, len(lines), errors) == (0, 3, [])
        assert lines[0].startswith("version: \\x1b[2J\\x1b]0;title\\x07\\nforged: line")
        assert lines[2] == "plain: 3"
        code, lines, errors = ctl("status", "--json")
        assert json.loads("\n".join(lines)) == value


def test_an_error_is_one_line_and_nothing_in_it_is_obeyed(folder: Path, ctl: Ctl) -> None:
    body = json.dumps({"id": 1, "ok": False, "error": {"code": EVIL, "message": EVIL * 1000}}).encode()
    with answering(folder / "control.sock", always(body)):
        code, lines, errors = ctl("ping")
    assert (code, lines, len(errors)) == (1, [], 1)
    assert errors[0].startswith("specdiffd: \\x1b[2J")
    assert len(errors[0]) < 10_000


@pytest.mark.parametrize("value", [None, [], [EVIL], "text", EVIL, 3, 0, False, {}, [[1], {"a": EVIL}], {"a": {}}])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_results_of_any_kind_can_be_printed(folder: Path, ctl: Ctl, value: Any, options: tuple[str, ...]) -> None:
    with answering(folder / "control.sock", result(value)):
        code, lines, errors = ctl("ping", *options)
    assert (code, errors) == (0, [])
    if options:
        assert json.loads("\n".join(lines)) == value


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_results_nested_deeply_are_an_error_or_printed(folder: Path, ctl: Ctl, options: tuple[str, ...], pair: str) -> None:
    for depth in (50, 200, 400, 600, 900, 1000, 5000):
        body = b'{"id":1,"ok":true,"result":' + pair[:-1].encode() * depth + b"1" + pair[-1:].encode() * depth + b"}"
        with answering(folder / "control.sock", always(body)):
            code, lines, errors = ctl("ping", *options)
        assert (code, len(errors)) == (0, 0) if lines else (1, 1)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["set", "audio.gain_db", "["], 2, "argument '['"),
        (["gain", "2024-99-99"], 2, "argument '2024-99-99'"),
        (["gain", "db=!!bool x"], 2, "argument 'db=!!bool x'"),
        (["gain", "9" * 5000], 2, "argument '999"),
        (["\x1b[2J"], 2, "unknown verb '\\x1b[2J'"),
        (["ping", EVIL], 2, "takes no arguments"),
        (["ping", "--timeout", "nan"], 2, "--timeout"),
        (["ping", "--timeout", "inf"], 2, "--timeout"),
        (["ping", "--timeout", "-1"], 2, "--timeout"),
        (["ping", "--timeout", "0"], 2, "--timeout"),
        (["ping", "--timeout", "1e300"], 2, "--timeout"),
        (["ping", "--endpoint", "tcp://127.0.0.1:99999"], 2, "--endpoint 'tcp://127.0.0.1:99999': expected tcp://127.0.0.1:PORT"),
        (["ping", "--endpoint", "ipc://" + "x" * 108], 2, "107 at most"),
        (["ping", "--endpoint", EVIL], 2, "expected auto, ipc://PATH"),
    ],
)
def test_words_that_make_no_sense_are_refused_in_one_line(folder: Path, ctl: Ctl, words: list[str], code: int, says: str) -> None:
    found, lines, errors = ctl(*words)
    assert (found, lines, len(errors)) == (code, [], 1)
    assert says in errors[0]


def test_the_runtime_folder_must_be_ours_alone(folder: Path, ctl: Ctl) -> None:
    with answering(folder / "control.sock", result({})):
        assert ctl("ping")[0] == 0
        folder.chmod(0o777)
        code, _, errors = ctl("ping")
        assert code == 2
        assert "can be written by others (mode 0777), expected a folder of user" in errors[0]
        assert ctl("ping", "--endpoint", f"ipc://{folder}/control.sock")[0] == 0  # an endpoint that the user chose is not checked


def test_a_runtime_folder_behind_a_link_is_refused(folder: Path, ctl: Ctl) -> None:
    folder.rename(folder.with_name("real"))
    folder.symlink_to(folder.with_name("real"))
    with answering(folder / "control.sock", result({})):
        code, _, errors = ctl("ping")
    assert code == 2
    assert "is a symbolic link" in errors[0]


def test_a_socket_must_be_ours_or_roots(folder: Path, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(folder / "control.sock", result({})):
        if os.getuid() == 0:
            os.chown(folder / "control.sock", 12345, -1)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        code, _, errors = ctl("ping", "--endpoint", f"ipc://{folder}/control.sock")
    assert code == 2
    assert "or of root" in errors[0]


def test_it_waits_for_a_daemon_that_is_starting(folder: Path, ctl: Ctl) -> None:
    started = threading.Event()

    def start() -> None:
        with answering(folder / "control.sock", result({"here": 1})):
            started.wait(10)

    later = threading.Timer(0.2, start)
    later.start()
    try:
        assert ctl("ping", "--timeout", "10") == (0, ["here: 1"], [])
    finally:
        started.set()
        later.join()


def test_output_that_cannot_be_encoded_is_escaped(folder: Path) -> None:
    """The terminal's encoding may lack characters of the reply."""
    import subprocess
    import sys

    with answering(folder / "control.sock", result({"name": "日本語 é"})):
        environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
        done = subprocess.run([sys.executable, "-m", "specdiffd", "ctl", "status"], capture_output=True, env=environment, timeout=60)
    assert done.stdout == b"name: \\u65e5\\u672c\\u8a9e \xe9\n"
    assert done.returncode == 0
