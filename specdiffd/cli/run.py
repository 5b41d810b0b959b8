"""``specdiffd run``."""

from __future__ import annotations

from typing import Annotated

import typer

from specdiffd.cli.options import ConfigFile, Overrides


def run(
    config: ConfigFile = None,
    overrides: Overrides = None,
    fake: Annotated[bool, typer.Option("--fake", help="Play sines instead of an instrument.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Where there is no audio device, wait for one instead of ending.")] = False,
) -> None:
    """Run the daemon until it is told to stop."""
    from specdiffd.base.config import load_config, user_config
    from specdiffd.base.logs import set_up_logging
    from specdiffd.daemon.supervisor import run as run_daemon

    loaded = load_config(config or user_config(), overrides or ())
    set_up_logging(loaded.logging.level)
    run_daemon(loaded, fake, wait)
