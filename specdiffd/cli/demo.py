"""``specdiffd demo``: the bundled performance, played into the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from specdiffd.cli.options import ConfigFile, Overrides, read_config
from specdiffd.cli.output import progress_bar, say


def demo(
    output: Annotated[Path, typer.Option("-O", "--output", help="Folder for the recording, the picture and the figures.")] = Path("demo"),
    song: Annotated[Path | None, typer.Option(help="A MIDI file to play; default: the bundled performance.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after this many seconds.", min=1)] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Run the daemon and play a performance into its MIDI port; record it, and draw its spectrogram."""
    from specdiffd.demo.play import play_demo

    loaded = read_config(config, overrides)
    with progress_bar(True, "s") as progress:
        task = progress.add_task("playing", total=None)

        def advance(done_s: float, total_s: float) -> None:
            progress.update(task, completed=done_s, total=total_s)

        lines = play_demo(loaded, output, song, seconds, advance)
    for line in lines:
        say(line)
