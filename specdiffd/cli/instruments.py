"""``specdiffd instruments``: list, describe, fetch and convert checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from specdiffd.cli.options import JsonFlag
from specdiffd.cli.output import readable, say, show

app = typer.Typer(no_args_is_help=True, help="List, describe, pull and convert instruments.")


@app.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """List the built-in instrument and the checkpoints pulled from the hub."""
    from specdiffd.instruments.hub import list_instruments

    rows = list_instruments()
    show(rows, (f"{row['name']}  ({row['kind']}, {row['bytes'] / 1e6:.0f} MB)  {row['folder']}" for row in rows), as_json)


@app.command("info")
def info(name: Annotated[str, typer.Argument(metavar="NAME")] = "builtin", as_json: JsonFlag = False) -> None:
    """Describe an instrument. It is loaded, so that damage is found."""
    from specdiffd.instruments.hub import describe

    described = describe(name)
    show(described, readable(described), as_json)


@app.command("pull")
def pull(
    hub_id: Annotated[str, typer.Argument(metavar="OWNER/NAME")],
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit, to be played by the folder that is printed; default: main.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Fetch a checkpoint from the hub into its shared cache (HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE are honoured)."""
    from specdiffd.instruments.hub import pull as fetch

    folder = fetch(hub_id, revision)
    show({"name": hub_id, "folder": str(folder)}, [f"{hub_id}: {folder}"], as_json)


@app.command("convert")
def convert(
    name: Annotated[str, typer.Argument(metavar="NAME", help="builtin, a hub id that was pulled, or a directory.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The new checkpoint.")],
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
) -> None:
    """Write a checkpoint again as safetensors of another precision, which loads by mapping the file."""
    from specdiffd.instruments.hub import convert as write

    say(f"{write(name, out, dtype)}: play it with specdiffd run -o instrument.name={out}")
