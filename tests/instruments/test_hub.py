"""Pulling from a hub, against a local server with the hub's protocol; listing, describing, converting."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants, file_download
from huggingface_hub.utils import reset_sessions
from typer.testing import CliRunner

from specdiffd import cli
from specdiffd.base.errors import CheckpointError, UsageError
from specdiffd.base.instrument import RenderSettings
from specdiffd.instruments import hub
from specdiffd.instruments.checkpoint import read_weights
from specdiffd.instruments.layout import BUILTIN, DECODER, INDEX, WEIGHTS, checkpoint_folder
from specdiffd.instruments.loading import load_instrument
from specdiffd.instruments.published import PublishedInstrument
from specdiffd.midi.published import published_performance

GOLDENS = Path(__file__).parents[1] / "goldens"
COMMIT = "c0ffee" + 34 * "0"
REPOSITORY = "someone/small"


def _oid(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    if file.suffix not in (".safetensors", ".bin"):
        return {"oid": git}
    return {"oid": git, "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}


class Hub(BaseHTTPRequestHandler):
    """A repository of one commit; large files (safetensors, pickles) are named by SHA-256 as in LFS."""

    folder: Path
    broken: set[str]  # files of which only half is sent
    lies: set[str]  # files sent with one bit changed
    requests: list[tuple[str, str, str | None]]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        self.requests.append((self.command, path, self.headers.get("Range")))
        files = sorted(p for p in self.folder.rglob("*") if p.is_file())
        if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            rows = [{"type": "file", "path": str(p.relative_to(self.folder)), "size": p.stat().st_size, **_oid(p)} for p in files]
            return self._send(json.dumps(rows).encode(), {}, body)
        if path.startswith(f"/api/models/{REPOSITORY}"):
            info = {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "private": False, "tags": [], "downloads": 0}
            siblings = [{"rfilename": str(p.relative_to(self.folder))} for p in files]
            return self._send(json.dumps({**info, "siblings": siblings}).encode(), {}, body)
        found = re.fullmatch(rf"/{REPOSITORY}/resolve/[^/]+/(.+)", path)
        file = self.folder / found.group(1) if found else None
        if file is None or not file.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound" if found is None else "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        data = file.read_bytes()
        oid = _oid(file)
        etag = oid["lfs"]["oid"] if "lfs" in oid else oid["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes", "X-Linked-Size": str(len(data))}
        if file.name in self.lies:
            data = data[:-1] + bytes([data[-1] ^ 1])
        return self._send(data, headers, body, cut=file.name in self.broken)

    def _send(self, data: bytes, headers: dict[str, str], body: bool, cut: bool = False) -> None:
        wanted = self.headers.get("Range")
        start = int(re.findall(r"\d+", wanted)[0]) if wanted else 0
        self.send_response(206 if start else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self.wfile.write(data[start : len(data) // 2] if cut else data[start:])
            if cut:
                self.close_connection = True


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    shutil.copytree(GOLDENS / "checkpoints" / "narrow", tmp_path / "repository")
    (tmp_path / "repository" / "huge_file_of_no_use.ckpt").write_bytes(b"x")

    class Mine(Hub):
        folder, broken, lies, requests = tmp_path / "repository", set(), set(), []

    http = ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    address = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    for module in (constants, file_download):  # the second has a copy
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # what breaks off within a chunk is lost
    yield Mine
    reset_sessions()
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_checkpoint_is_pulled_and_played_by_its_id(server: type[Hub]) -> None:
    folder = hub.pull(REPOSITORY)
    assert checkpoint_folder(REPOSITORY) == folder
    assert not (folder / "huge_file_of_no_use.ckpt").exists()
    loaded = load_instrument(REPOSITORY, "cpu", "float32", RenderSettings(steps=1))
    assert isinstance(loaded, PublishedInstrument)
    count = len(server.requests)
    hub.pull(REPOSITORY)
    assert not any(method == "GET" and "resolve" in path for method, path, _ in server.requests[count:])


def test_pulled_checkpoints_are_listed(server: type[Hub]) -> None:
    assert [row["name"] for row in hub.list_instruments()] == ["builtin"]
    hub.pull(REPOSITORY)
    rows = hub.list_instruments()
    assert [row["name"] for row in rows] == ["builtin", REPOSITORY]
    assert rows[1]["kind"] == "published family"
    assert rows[1]["bytes"] > 100_000


def test_the_commands_give_json(server: type[Hub], tmp_path: Path) -> None:
    def call(*words: str) -> Any:
        result = CliRunner().invoke(cli.app, ["instruments", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    pulled = json.loads(call("pull", REPOSITORY, "--json"))
    assert [row["name"] for row in json.loads(call("list", "--json"))] == ["builtin", REPOSITORY]
    assert "someone/small  (published family" in call("list")
    assert json.loads(call("info", REPOSITORY, "--json"))["folder"] == pulled["folder"]
    assert f"{tmp_path / 'half'}: play it with" in call("convert", REPOSITORY, str(tmp_path / "half"))
    assert "velocity_levels: 1\n" in call("info", str(tmp_path / "half"))


def test_a_broken_download_goes_on_where_it_stopped(server: type[Hub]) -> None:
    """Complete files are not fetched again, and only the rest of an incomplete one."""
    server.broken.add(WEIGHTS)
    with pytest.raises(CheckpointError, match="pull again to go on where it stopped"):
        hub.pull(REPOSITORY)
    server.broken.clear()
    there = {path for method, path, _ in server.requests if method == "GET" and path.endswith(".json")}
    server.requests.clear()
    folder = hub.pull(REPOSITORY)
    assert there
    assert not there & {path for method, path, _ in server.requests if method == "GET"}
    starts = [int(wanted.removeprefix("bytes=").rstrip("-")) for _, path, wanted in server.requests if wanted and f"/{DECODER}/" in path]
    assert starts
    assert starts[0] > 0.9 * (server.folder / DECODER / WEIGHTS).stat().st_size / 2
    assert read_weights(folder / DECODER).keys() == read_weights(server.folder / DECODER).keys()


def test_a_file_that_is_not_what_the_hub_says_is_refused(server: type[Hub]) -> None:
    server.lies.add(WEIGHTS)
    with pytest.raises(CheckpointError, match=r"its hash is .* removed, pull again"):
        hub.pull(REPOSITORY)
    server.lies.clear()
    hub.pull(REPOSITORY)


def test_offline_mode_asks_nobody(server: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    reset_sessions()  # they look at the setting once
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set"):
        hub.pull(REPOSITORY)
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "error", "says"), [("nobody/nothing", CheckpointError, "nobody/nothing: "), ("small", UsageError, "expected OWNER/NAME")]
)
def test_what_cannot_be_pulled_is_named(name: str, error: type[Exception], says: str, server: type[Hub]) -> None:
    with pytest.raises(error, match=says):
        hub.pull(name)


def test_something_else_than_a_checkpoint_is_refused(server: type[Hub]) -> None:
    (server.folder / INDEX).write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(CheckpointError, match="names 'StableDiffusionPipeline', expected"):
        hub.pull(REPOSITORY)


def test_an_id_that_was_not_pulled_says_how(server: type[Hub]) -> None:
    with pytest.raises(CheckpointError, match=r"not pulled yet: specdiffd instruments pull google/music"):
        checkpoint_folder("google/music-spectrogram-diffusion")


@pytest.mark.parametrize("size", ["narrow", "wide"])
def test_conversion_keeps_the_sound(size: str, tmp_path: Path) -> None:
    source = str(GOLDENS / "checkpoints" / size)
    performance = published_performance(GOLDENS / "songs" / "edge1.mid")
    exact = hub.convert(source, tmp_path / "exact", "float32")
    half = hub.convert(source, tmp_path / "half")
    mels = []
    for folder in (source, str(exact)):
        instrument = load_instrument(folder, "cpu", "float32", RenderSettings(steps=2))
        assert isinstance(instrument, PublishedInstrument)
        mels.append(next(instrument.song(performance)).mel)
    assert torch.equal(*mels)
    assert not list(tmp_path.rglob("*.bin"))
    weights = read_weights(half / DECODER)
    assert all(w.dtype == torch.bfloat16 for w in weights.values())
    kept = load_instrument(str(half), "cpu", "bfloat16").decoder.decoder_norm.weight
    assert kept.dtype == torch.bfloat16


def test_conversion_overwrites_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        hub.convert("builtin", tmp_path)
    with pytest.raises(UsageError, match="dtype 'int8': expected one of float32"):
        hub.convert("builtin", tmp_path / "new", "int8")
    shutil.copytree(GOLDENS / "checkpoints" / "narrow", tmp_path / "damaged")
    (tmp_path / "damaged" / DECODER / WEIGHTS).write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        hub.convert(str(tmp_path / "damaged"), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.partial").exists()


def test_info_counts_parameters() -> None:
    info = hub.describe("builtin")
    assert info["sample_rate_hz"] == 48000
    stored = (kw for folder in BUILTIN.iterdir() if (folder / WEIGHTS).exists() for kw in read_weights(folder).items())
    assert sum(info["parameters"].values()) == sum(w.numel() for key, w in stored if key not in ("details", "patterns"))  # codes
    assert hub.describe(str(GOLDENS / "checkpoints" / "wide"))["vocoder"] == "the built-in one"
