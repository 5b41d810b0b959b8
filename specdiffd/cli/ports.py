"""``specdiffd ports`` and ``specdiffd devices``: what the daemon can be connected to."""

from __future__ import annotations

from typing import Annotated

import typer

from specdiffd.cli.options import JsonFlag
from specdiffd.cli.output import show


def ports(
    api: Annotated[str, typer.Option("--api", help="auto, jack, alsa, coreaudio or winmm.")] = "auto", as_json: JsonFlag = False
) -> None:
    """List the MIDI ports that could be connected to."""
    from specdiffd.io.ports import list_ports

    names = list_ports(api)
    show(names, names or ["no MIDI ports"], as_json)


def devices(as_json: JsonFlag = False) -> None:
    """List the audio devices that can be played to."""
    from specdiffd.io.devices import list_devices

    found = list_devices()
    lines = [f"{d['index']:3d}  {d['name']}  ({d['host_api']}, {d['channels']} channels, {d['sample_rate_hz']:.0f} Hz)" for d in found]
    show(found, lines or ["no audio devices (audio.device=wav:PATH writes a file, null plays to nobody)"], as_json)
