"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
ConfigFile = Annotated[
    Path | None, typer.Option("-c", "--config", help="A config.yaml; default: ~/.config/specdiffd/config.yaml if it is there.")
]
Overrides = Annotated[list[str] | None, typer.Option("-o", "--set", metavar="SECTION.KEY=VALUE", help="Override a configuration key.")]
Instrument = Annotated[str, typer.Option("-m", "--instrument", help="builtin, the directory of a checkpoint, or a hub id that was pulled.")]
Device = Annotated[str, typer.Option("--device", help="A torch device; auto takes the GPU if there is one.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32 or bfloat16.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse MIDI files with anything wrong in them.")]
