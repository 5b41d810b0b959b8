import json

import pytest
from typer.testing import CliRunner

from specdiffd import cli


def test_the_latency_bench_takes_a_revision_apart() -> None:
    words = ["bench", "latency", "--random-weights", "--revisions", "8", "--steps", "1", "--frames", "24", "--json"]
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["urgent_frames"] == 24
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["p50_ms"] < 0.8 * figures["whole_p50_ms"]
    assert 0 < figures["piece_p95_ms"] < figures["whole_p50_ms"]
    parts = figures["waterfall_p50_ms"]
    assert {"tokens", "prior", "draft", "encoder", "decoder", "vocoder", "splice"} <= set(parts)
    assert sum(parts.values()) == pytest.approx(figures["whole_p50_ms"], rel=0.5)


def test_the_decoder_bench_compares_a_stretch_with_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both run in PyTorch, since there is no graph of a whole window."""
    monkeypatch.setattr("specdiffd.backends.openvino.Graph.__call__", None)
    result = CliRunner().invoke(cli.app, ["bench", "decoder", "--repeats", "5", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["frames"], figures["window_frames"]) == (24, 256)
    assert 0 < figures["cached_p50_ms"] < figures["whole_p50_ms"]


def test_the_engine_bench_covers_polyphony_and_frames() -> None:
    result = CliRunner().invoke(cli.app, ["bench", "engine", "--revisions", "5", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert {(row["polyphony"], row["frames"]) for row in rows} == {(p, f) for p in (1, 8, 32) for f in (10, 24)}
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in rows)
    mean = {f: sum(row["p50_ms"] for row in rows if row["frames"] == f) for f in (10, 24)}
    assert mean[10] < mean[24]


def test_the_vocoder_bench_times_a_short_and_a_long_stretch() -> None:
    result = CliRunner().invoke(cli.app, ["bench", "vocoder", "--repeats", "5", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["frames"] == 26
    assert 0.01 < figures["p50_ms"] < 1e3 * 64 / 50 * figures["seconds_per_second"] * 3
