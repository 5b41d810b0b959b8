import json

from typer.testing import CliRunner

from specdiffd import cli


def test_the_latency_bench_takes_a_revision_apart() -> None:
    words = ["bench", "latency", "--random-weights", "--revisions", "8", "--steps", "1", "--frames", "24", "--json"]
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["urgent_frames"] == 24
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    parts = figures["waterfall_p50_ms"]
    assert {"tokens", "prior", "encoder", "decoder", "vocoder"} <= set(parts)
    assert 0.5 * figures["p50_ms"] < sum(parts.values()) < 1.5 * figures["p99_ms"]


def test_the_decoder_bench_compares_a_stretch_with_a_window() -> None:
    result = CliRunner().invoke(cli.app, ["bench", "decoder", "--repeats", "5", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["frames"], figures["window_frames"]) == (24, 256)
    assert 0 < figures["cached_p50_ms"] < figures["whole_p50_ms"]
