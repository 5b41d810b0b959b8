"""``specdiffd train``: makes an instrument."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from specdiffd.base.errors import UsageError
from specdiffd.cli.options import Device
from specdiffd.cli.output import say
from specdiffd.cli.songs import find_songs

Stages = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[prior|colours|decoder|reflow|vocoder ...]", help="What to train; default: all but reflow. The stages run in this order."
    ),
]
RunFolder = Annotated[Path, typer.Option("--run", help="Folder of the run; one that holds a run is resumed.")]
Minutes = Annotated[float, typer.Option(help="Minutes of all stages together, over all sessions.", min=0.1)]
Songs = Annotated[list[Path] | None, typer.Option(metavar="SONG.mid|DIR", help="MIDI files to draw from; default: generated music only.")]
HeldOut = Annotated[int, typer.Option(help="How many songs, the last by name, are not learned from.", min=0)]
Format = Annotated[
    str | None,
    typer.Option("--format", help="Mel format: full-band (48 kHz) or published (16 kHz); default: that of --start, else full-band."),
]
Start = Annotated[str | None, typer.Option(metavar="INSTRUMENT", help="builtin or a checkpoint, whose weights to begin with.")]
Batch = Annotated[int | None, typer.Option(help="Examples per step; default: what two cores handle.", min=1)]
Pieces = Annotated[int, typer.Option(help="Rendered half minutes held in memory.", min=1)]
AdversarialFrom = Annotated[float, typer.Option(help="Share of the vocoder's time without discriminators.", min=0, max=1)]
Soundfonts = Annotated[list[str] | None, typer.Option(help="fluid, musescore or a file; several are mixed (colours are the first one's).")]
Threads = Annotated[int | None, typer.Option(help="Threads of torch; default: as many as cores.", min=1)]


def train(
    stages: Stages = None,
    run: RunFolder = Path("runs/builtin"),
    minutes: Minutes = 240.0,
    songs: Songs = None,
    held_out: HeldOut = 0,
    format_name: Format = None,
    start: Start = None,
    batch: Batch = None,
    pieces: Pieces = 200,
    adversarial_from: AdversarialFrom = 0.45,
    soundfont: Soundfonts = None,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Train an instrument on FluidSynth's sound (needs the package's extra train, FluidSynth and a soundfont)."""
    from specdiffd.base.logs import set_up_logging
    from specdiffd.instruments.layout import checkpoint_folder
    from specdiffd.instruments.loading import pick_device
    from specdiffd.train.stages import train as train_stages

    chosen = _chosen(stages, format_name)
    learned = _learned(songs or (), held_out)
    _use_threads(threads)
    set_up_logging("info")
    checkpoint = train_stages(
        run,
        chosen,
        learned,
        minutes=minutes,
        format_name=format_name,
        start=None if start is None else checkpoint_folder(start),
        pieces=pieces,
        batch=batch,
        adversarial_from=adversarial_from,
        device=pick_device(device),
        soundfonts=soundfont or ("fluid",),
    )
    say(f"{checkpoint}: try it with specdiffd render SONG.mid -m {checkpoint}" if checkpoint.exists() else f"{run}: no checkpoint yet")


def _chosen(stages: list[str] | None, format_name: str | None) -> list[str]:
    from specdiffd.base.formats import FORMATS
    from specdiffd.train.stages import STAGES, USUAL

    chosen = stages or list(USUAL)
    for stage in chosen:
        if stage not in STAGES:
            raise UsageError(f"unknown stage {stage!r}; there are {', '.join(STAGES)}")
    if format_name not in (None, *FORMATS):
        raise UsageError(f"unknown format {format_name!r}; there are {', '.join(FORMATS)}")
    return chosen


def _learned(songs: Sequence[Path], held_out: int) -> list[Path]:
    found = find_songs(songs)
    if held_out >= len(found) > 0:
        raise UsageError(f"--held-out {held_out} leaves none of {len(found)} songs to learn from")
    return found[: len(found) - held_out]


def _use_threads(threads: int | None) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)
