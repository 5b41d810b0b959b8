"""Standard streams that are closed, lead to a full disk, or have lost their reader."""

from __future__ import annotations

import errno
import io
import os
import sys

# How a closed descriptor is opened again: output stays one that cannot be written to.
LEADS_NOWHERE = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}


class OutputError(OSError):
    """Standard output cannot be written; a type of its own, to tell it from errors of other files."""


class Output(io.TextIOWrapper):
    """Standard output whose errors are an :class:`OutputError`."""

    def write(self, text: str) -> int:
        """Write text.

        Raises:
            OutputError: there is no room for it.
            BrokenPipeError: the reader has gone.
        """
        try:
            return super().write(text)
        except OSError as error:
            raise _output_error(error) from error

    def flush(self) -> None:
        """Write what is buffered.

        Raises:
            OutputError: there is no room for it.
            BrokenPipeError: the reader has gone.
        """
        try:
            super().flush()
        except OSError as error:
            raise _output_error(error) from error


def _output_error(error: OSError) -> OSError:
    """The error to raise: a missing reader keeps its own type."""
    return error if error.errno == errno.EPIPE else OutputError(error.errno, error.strerror)


def hold_streams() -> None:
    """Let closed standard streams lead nowhere. Call it before anything is opened.

    Otherwise the next file takes the place of a closed stream. Shared memory once got descriptor 2, and C libraries wrote their
    error messages into it.
    """
    for descriptor, flags in LEADS_NOWHERE.items():
        try:
            os.fstat(descriptor)
        except OSError:
            _open_nowhere(descriptor, flags)
    if sys.stderr is None:  # Python's value if the descriptor was closed
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", write_through=True)
    if sys.stdout is None:
        sys.stdout = Output(io.FileIO(1, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True)
    elif type(sys.stdout) is io.TextIOWrapper:
        plain = sys.stdout
        sys.stdout = Output(plain.buffer, plain.encoding, "backslashreplace", None, plain.line_buffering, plain.write_through)


def drop_output() -> None:
    """Drop printed text that cannot be written, so that Python does not try again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        _open_nowhere(sys.stdout.fileno(), os.O_WRONLY)


def _open_nowhere(descriptor: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)
    if opened == descriptor:
        os.set_inheritable(descriptor, True)
    else:
        os.dup2(opened, descriptor)
        os.close(opened)
