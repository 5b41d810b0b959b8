"""The command line. Imports what a command needs when it runs: --help needs neither torch nor PortAudio."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from specdiffd import __version__
from specdiffd.errors import ControlError, SpecdiffdError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A live neural synthesizer: plays MIDI through Spectrogram Diffusion.",
)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
ConfigOption = Annotated[Path | None, typer.Option("-c", "--config", help="A config.yaml; without it the defaults apply.")]
Overrides = Annotated[list[str] | None, typer.Option("-o", "--set", metavar="SECTION.KEY=VALUE", help="Override a configuration key.")]


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"specdiffd {__version__}")
        raise typer.Exit


@app.command()
def run(
    config: ConfigOption = None,
    overrides: Overrides = None,
    fake: Annotated[bool, typer.Option("--fake", help="Play sines instead of an instrument.")] = False,
) -> None:
    """Run the daemon until it is told to stop."""
    from specdiffd.config import load_config
    from specdiffd.daemon import run as run_daemon
    from specdiffd.logs import set_up_logging

    loaded = load_config(config, overrides or ())
    set_up_logging(loaded.logging.level)
    run_daemon(loaded, fake)


@app.command(context_settings={"ignore_unknown_options": True})
def ctl(
    verb: Annotated[str, typer.Argument(help="ping status panic note_on note_off program midi gain set get shutdown")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARG ...]", help="In the order of the command's fields, or name=value.")] = None,
    endpoint: Annotated[str, typer.Option("--endpoint", help="Where the daemon listens.")] = "auto",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the reply.")] = 5.0,
    as_json: JsonFlag = False,
) -> None:
    """Send one request to the running daemon: specdiffd ctl note_on 60 100."""
    from specdiffd.config import ControlConfig
    from specdiffd.control.client import ControlClient
    from specdiffd.control.server import endpoints

    address, _ = endpoints(ControlConfig(endpoint=endpoint))
    with ControlClient(address, timeout_s) as client:
        result = client.call(verb, **_ctl_arguments(verb, arguments or []))
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    elif result:
        for line in _readable(result):
            typer.echo(line)


def _ctl_arguments(verb: str, given: list[str]) -> dict[str, Any]:
    """Words to typed arguments.

    Raises:
        UsageError: an unknown verb or too many words.
    """
    import difflib

    import yaml

    from specdiffd.control.protocol import COMMANDS

    if verb not in COMMANDS:
        near = difflib.get_close_matches(verb, COMMANDS, n=1)
        raise UsageError(f"unknown verb {verb!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"))
    fields = COMMANDS[verb].__struct_fields__
    values: dict[str, Any] = {}
    for word in given:
        name, equals, text = word.partition("=")
        if equals and name in fields:
            values[name] = yaml.safe_load(text)
            continue
        rest = [f for f in fields if f not in values]
        if not rest:
            raise UsageError(f"{verb} takes {', '.join(fields) or 'no arguments'}; {word!r} is too much")
        values[rest[0]] = yaml.safe_load(word)
    return values


def _readable(value: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += _readable(item, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}: {item}")
    return lines


@app.command()
def ports(api: Annotated[str, typer.Option("--api", help="auto, jack, alsa, coreaudio or winmm.")] = "auto", as_json: JsonFlag = False) -> None:
    """List the MIDI ports that could be connected to."""
    from specdiffd.io.ports import list_ports

    names = list_ports(api)
    typer.echo(json.dumps(names) if as_json else "\n".join(names) or "no MIDI ports")


@app.command()
def devices(as_json: JsonFlag = False) -> None:
    """List the audio devices that can be played to."""
    from specdiffd.io.output import list_devices

    found = list_devices()
    if as_json:
        typer.echo(json.dumps(found))
        return
    for d in found:
        typer.echo(f"{d['index']:3d}  {d['name']}  ({d['host_api']}, {d['channels']} channels, {d['sample_rate_hz']:.0f} Hz)")
    if not found:
        typer.echo("no audio devices (audio.device=wav:PATH writes a file, null plays to nobody)")


def main() -> None:
    """Entry point: every expected error becomes one line and an exit code."""
    try:
        app(standalone_mode=True)
    except ControlError as error:
        typer.echo(f"specdiffd: {error} ({error.code})", err=True)
        sys.exit(error.exit_code)
    except SpecdiffdError as error:
        typer.echo(f"specdiffd: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
