"""``specdiffd run``: the daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from specdiffd.cli.options import ConfigFile, Overrides, read_config


def run(
    config: ConfigFile = None,
    overrides: Overrides = None,
    fake: Annotated[bool, typer.Option("--fake", help="Play sines instead of an instrument.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for an audio device if there is none.")] = False,
) -> None:
    """Run the daemon until it is told to stop."""
    from specdiffd.daemon.supervisor import run as run_daemon

    run_daemon(read_config(config, overrides), fake, wait)
