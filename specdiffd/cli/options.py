"""Options that several commands have, and what is read from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from specdiffd.base.config import Config

JsonFlag = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
ConfigFile = Annotated[
    Path | None, typer.Option("-c", "--config", help="A config.yaml; default: ~/.config/specdiffd/config.yaml if it is there.")
]
Overrides = Annotated[list[str] | None, typer.Option("-o", "--set", metavar="SECTION.KEY=VALUE", help="Override a configuration key.")]
Instrument = Annotated[str, typer.Option("-m", "--instrument", help="builtin, the directory of a checkpoint, or a hub id that was pulled.")]
Device = Annotated[str, typer.Option("--device", help="A torch device; auto takes the GPU if there is one.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32 or bfloat16.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse damaged MIDI files.")]


def read_config(path: Path | None, overrides: Sequence[str] | None) -> Config:
    """The configuration of a command, the user's if ``path`` is None. Logging is set up as it says.

    Raises:
        ConfigError: a file cannot be read, or a key or value is wrong.
    """
    from specdiffd.base.config import load_config, user_config
    from specdiffd.base.logs import set_up_logging

    config = load_config(path or user_config(), overrides or ())
    set_up_logging(config.logging.level)
    return config
