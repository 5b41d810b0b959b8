"""``specdiffd tokens``: a MIDI file as an instrument's network reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from specdiffd.cli.options import Instrument, JsonFlag, Strict
from specdiffd.cli.output import tell, warn

if TYPE_CHECKING:
    from specdiffd.base.events import Performance
    from specdiffd.base.formats import MelFormat
    from specdiffd.tokens.codec import Codec


def tokens(
    songs: Annotated[list[Path], typer.Argument(metavar="SONG.mid ...")],
    instrument: Instrument = "builtin",
    strict: Strict = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a MIDI file as the instrument's tokens: one list of ids per window, without padding."""
    from specdiffd.tokens.window import song_windows

    reading = _reading(instrument)
    codec = reading.codec
    for path in songs:
        windows = list(song_windows(_performance(path, strict, reading.published), reading.fmt, reading.frames, codec))
        dropped = sum(w.dropped_events for w in windows)
        if dropped:
            tell(f"{path}: {dropped} events do not fit in {codec.max_tokens} tokens and were left out")
        if as_json:
            typer.echo(json.dumps([w.ids for w in windows]))
            continue
        for number, window in enumerate(windows):
            typer.echo(f"window {number}: {' '.join(codec.name(t) for t in window.ids)}")


class Reading(NamedTuple):
    """How an instrument reads a score."""

    codec: Codec
    frames: int  # of a window
    fmt: MelFormat
    published: bool  # files are read as the published code reads them


def _reading(instrument: str) -> Reading:
    from specdiffd.base.formats import MelFormat
    from specdiffd.instruments import layout
    from specdiffd.tokens.codec import Codec

    folder = layout.checkpoint_folder(instrument)
    codec = layout.read_config(folder / layout.NOTES_ENCODER / layout.CONFIG, Codec, "codec")
    frames = layout.read_config(folder / layout.DECODER / layout.CONFIG, layout.WindowLength).targets_length
    fmt = layout.read_config(folder / layout.INDEX, MelFormat, "mel_format")
    published = layout.read_json(folder / layout.INDEX).get("_class_name") == layout.PUBLISHED_CLASS
    return Reading(codec, frames, fmt, published)


def _performance(path: Path, strict: bool, published: bool) -> Performance:
    from specdiffd.midi.file import read_song
    from specdiffd.midi.published import published_performance
    from specdiffd.midi.score import Score

    song = read_song(path, strict)
    warn(song.warnings)
    if published:
        return published_performance(path)
    return Score().extend(song.events).performance._replace(length_s=song.end_s)
