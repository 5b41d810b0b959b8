"""The program: all commands in the order of the help. Every expected error becomes one line and an exit code."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer

from specdiffd import __version__
from specdiffd.base.errors import ControlError, SpecdiffdError
from specdiffd.base.text import clipped, printable, told
from specdiffd.cli import bench, instruments
from specdiffd.cli.ctl import ctl
from specdiffd.cli.demo import demo
from specdiffd.cli.evaluate import evaluate
from specdiffd.cli.output import tell
from specdiffd.cli.ports import devices, ports
from specdiffd.cli.render import render
from specdiffd.cli.run import run
from specdiffd.cli.tokens import tokens
from specdiffd.cli.train import train

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A live neural synthesizer: plays MIDI through Spectrogram Diffusion.",
)
app.command()(run)
app.command(context_settings={"ignore_unknown_options": True})(ctl)  # so that negative numbers are arguments: ctl gain -6
for command in (ports, devices, tokens, render, evaluate, train, demo):
    app.command()(command)
app.add_typer(instruments.app, name="instruments")
app.add_typer(bench.app, name="bench")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"specdiffd {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command that the arguments name, and exit. Every expected error becomes one line and an exit code."""
    from specdiffd.base.folders import settle_environment
    from specdiffd.base.streams import drop_output, hold_streams

    hold_streams()
    settle_environment()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # so that names that the terminal cannot encode are no error
    code, problem = _run_command()
    if problem:
        tell(f"specdiffd: {problem}")
    drop_output()
    sys.exit(code)


def _run_command() -> tuple[Any, str]:
    """Run the command; returns its exit code and its error in words, if there is one."""
    from specdiffd.base.streams import OutputError

    try:
        app(standalone_mode=True)
    except SystemExit as stop:
        return stop.code, ""
    except ControlError as error:
        return error.exit_code, f"{told(error)} ({printable(clipped(error.code))})"
    except SpecdiffdError as error:
        return error.exit_code, told(error)
    except OutputError as error:
        return SpecdiffdError.exit_code, f"cannot write the output: {error.strerror}"
    except BrokenPipeError:
        return SpecdiffdError.exit_code, ""  # the reader has closed the pipe: no error to report
    except OSError as error:
        return SpecdiffdError.exit_code, told(error) if error.filename is None else printable(f"{error.filename}: {error.strerror}")
    return 0, ""
