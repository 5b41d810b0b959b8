"""The report of an evaluation: one HTML page with tables and spectrograms."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from specdiffd.evaluate.notes import Row

PICTURED_S = 8.0
STYLE = "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right}img{max-width:100%}"


def write_report(folder: Path, figures: Mapping[str, Any], rows: Sequence[Row], rate_hz: int) -> Path:
    """Write ``report.html``, ``figures.json`` and a PNG for each family's first piece; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.json").write_text(json.dumps(figures, indent=2))
    parts = [f"<!doctype html><meta charset=utf-8><title>specdiffd evaluate</title><style>{STYLE}</style><h1>Evaluation</h1>"]
    for name, content in figures.items():
        parts.append(f"<h2>{html.escape(name.replace('_', ' '))}</h2>{_as_html(content)}")
    parts.append("<h2>spectrograms</h2>")
    for family in dict.fromkeys(r.family for r in rows):
        song = next(r.song for r in rows if r.family == family)
        picture = _spectrograms([r for r in rows if (r.family, r.song) == (family, song)], rate_hz)
        (folder / f"{family.replace(' ', '_')}.png").write_bytes(picture)
        source = base64.b64encode(picture).decode()
        parts.append(f"<h3>{html.escape(f'{family}, {song}')}</h3><img src='data:image/png;base64,{source}'>")
    page = folder / "report.html"
    page.write_text("\n".join(parts))
    return page


def _as_html(content: Any) -> str:
    """Nested figures as tables: a list of rows, a mapping of rows, or plain values."""
    if isinstance(content, list) and content and isinstance(content[0], Mapping):
        head = "".join(f"<th>{html.escape(str(key))}" for key in content[0])
        body = "".join("<tr>" + "".join(f"<td>{_text(value)}" for value in row.values()) for row in content)
        return f"<table><tr>{head}{body}</table>"
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Mapping) for value in content.values()):
            return _as_html([{"": key, **value} for key, value in content.items()])
        return "<table>" + "".join(f"<tr><th>{html.escape(key)}<td>{_as_html(value)}" for key, value in content.items()) + "</table>"
    return _text(content)


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else html.escape(str(value))


def _spectrograms(rows: Sequence[Row], rate_hz: int) -> bytes:
    """PNG of the first seconds of each row's audio, one above the other."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(rows), figsize=(14, 2.4 * len(rows)), sharex=True, layout="constrained", squeeze=False)
    size = 2048 if rate_hz > 24000 else 1024
    for axis, row in zip(axes[:, 0], rows, strict=True):
        audio = row.audio[: round(PICTURED_S * rate_hz)]
        dither = np.random.default_rng(0).normal(0, 1e-7, len(audio))  # complete silence has no level in dB
        axis.specgram(audio + dither, NFFT=size, noverlap=3 * size // 4, Fs=rate_hz, vmin=-140, vmax=-40, cmap="magma")
        axis.set(ylabel="Hz", title=f"{row.variant}: note F1 {row.f1:.2f}, log-mel L1 {row.mel_l1:.2f}")
    axes[-1, 0].set(xlabel="seconds")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=70)
    plt.close(figure)
    return file.getvalue()
