"""``specdiffd evaluate``: compares the instrument with FluidSynth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from specdiffd.base.errors import UsageError
from specdiffd.cli.options import Device, Dtype, Instrument, JsonFlag
from specdiffd.cli.output import progress_bar, say
from specdiffd.cli.songs import find_songs

if TYPE_CHECKING:
    from specdiffd.base.events import Event
    from specdiffd.evaluate.notes import Row
    from specdiffd.evaluate.rendering import Renderers

PARTS = ("notes", "sounds", "bursts", "honesty")

Songs = Annotated[list[Path], typer.Argument(metavar="SONG.mid|DIR ...", help="MIDI files to play in several instrumentations.")]
Limit = Annotated[int, typer.Option(help="How many of the songs.", min=1)]
Seconds = Annotated[float, typer.Option(help="Seconds of each song.", min=5)]
Parts = Annotated[
    list[str] | None,
    typer.Option("--part", metavar="notes|sounds|bursts|honesty", help="Only these parts; may be given more than once."),
]
Ablate = Annotated[bool, typer.Option("--ablate", help="Also measure the notes with one part of the instrument left out at a time.")]
Report = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write a page with the tables and spectrograms there.")]
Soundfont = Annotated[str, typer.Option(help="The reference: fluid, musescore or a file.")]


def evaluate(
    songs: Songs,
    instrument: Instrument = "builtin",
    limit: Limit = 3,
    seconds: Seconds = 24.0,
    parts: Parts = None,
    ablate: Ablate = False,
    report: Report = None,
    soundfont: Soundfont = "fluid",
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Compare the instrument with FluidSynth playing the same (needs the package's extra evaluate and basic-pitch): right notes,
    single sounds (program, loudness, onset, drums, brightness), bursts, and whether spectrograms are more than a blurred mean."""
    wanted = _wanted(parts)
    found = find_songs(songs)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
    comparison = _comparison(found[:: max(1, len(found) // limit)][:limit], seconds, ablate, instrument, device, dtype, soundfont)
    with progress_bar(not as_json, "renderings and measures") as progress:
        task = progress.add_task("evaluating", total=_steps(comparison, wanted))
        figures, rows = _measured(comparison, wanted, lambda: progress.advance(task))
    _print(figures, as_json)
    if report is not None:  # last, so that the figures are printed even if this fails
        _write_report(report, figures, rows, comparison.renderers.rate_hz, as_json)


class Comparison(NamedTuple):
    """What is compared."""

    renderers: Renderers
    pieces: Sequence[tuple[str, str, list[Event]]]  # family, song, events
    seconds: float
    variants: dict[str, dict[str, Any]]  # of the instrument, for the notes


def _wanted(parts: Sequence[str] | None) -> Sequence[str]:
    if unknown := set(parts or ()) - set(PARTS):
        raise UsageError(f"unknown part {', '.join(sorted(unknown))}: expected {', '.join(PARTS)}")
    return parts or PARTS


def _comparison(
    songs: Sequence[Path], seconds: float, ablate: bool, instrument: str, device: str, dtype: str, soundfont: str
) -> Comparison:
    from specdiffd.evaluate.notes import ABLATION
    from specdiffd.evaluate.pieces import test_set
    from specdiffd.evaluate.rendering import Renderers
    from specdiffd.instruments.loading import load_builtin_family, pick_device

    pieces = test_set(songs, seconds)
    renderers = Renderers(load_builtin_family(instrument, pick_device(device), dtype), soundfont)
    return Comparison(renderers, pieces, seconds, ABLATION if ablate else {})


def _steps(comparison: Comparison, wanted: Iterable[str]) -> int:
    """How often all wanted parts call ``step`` together."""
    from specdiffd.evaluate.bursts import PROGRAMS
    from specdiffd.evaluate.honesty import MODELS
    from specdiffd.evaluate.notes import ALWAYS

    pieces = len(comparison.pieces)
    steps = {
        "notes": pieces * (len(ALWAYS) + len(comparison.variants)),
        "sounds": 5,
        "bursts": PROGRAMS,
        "honesty": pieces * (len(MODELS) + 1),
    }
    return sum(steps[part] for part in wanted)


def _measured(comparison: Comparison, wanted: Sequence[str], step: Callable[[], None]) -> tuple[dict[str, Any], list[Row]]:
    """The figures of each part, and the renderings of the part ``notes``."""
    from specdiffd.evaluate.bursts import evaluate_bursts
    from specdiffd.evaluate.honesty import evaluate_honesty
    from specdiffd.evaluate.notes import evaluate_notes, table
    from specdiffd.evaluate.sounds import evaluate_sounds

    renderers, pieces, seconds, variants = comparison
    figures: dict[str, Any] = {}
    rows: list[Row] = []
    if "notes" in wanted:
        rows = list(evaluate_notes(renderers, pieces, seconds, variants, step))
        figures["notes"] = table(rows)
    if "sounds" in wanted:
        figures |= evaluate_sounds(renderers, step)
    if "bursts" in wanted:
        figures["bursts"] = evaluate_bursts(renderers, step)
    if "honesty" in wanted:
        figures["honesty"] = evaluate_honesty(renderers, pieces, seconds, step)
    return figures, rows


def _write_report(folder: Path, figures: Mapping[str, Any], rows: Sequence[Row], rate_hz: int, as_json: bool) -> None:
    from specdiffd.evaluate.report import write_report

    page = write_report(folder, figures, rows, rate_hz)
    if not as_json:
        say(f"report: {page}")


def _print(figures: Mapping[str, Any], as_json: bool) -> None:
    """Figures as JSON or as tables."""
    from rich.console import Console

    if as_json:
        typer.echo(json.dumps(figures))
        return
    console = Console()
    for name, content in figures.items():
        if rows := _rows(content):
            console.print(_table(name, rows))
        if isinstance(content, Mapping):
            plain = {key: value for key, value in content.items() if key != "models"}
            console.print(name, {key: round(v, 3) if isinstance(v, float) else v for key, v in plain.items()})


def _rows(content: Any) -> list[dict[str, Any]]:
    """The rows of a part's table, if it has one."""
    if isinstance(content, list):
        return content
    models = content.get("models", {}) if isinstance(content, Mapping) else {}
    return [{"": name, **values} for name, values in models.items()]


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(*(column.replace("_", " ") for column in rows[0]), title=title)
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else "" if v is None else str(v) for v in row.values()))
    return table
