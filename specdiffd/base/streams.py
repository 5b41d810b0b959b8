"""Standard streams as a process may find them: closed, leading to a full disk, or to a reader that has gone."""

from __future__ import annotations

import errno
import io
import os
import sys

# A closed output stays one that cannot be written to.
LEADS_NOWHERE = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}


class OutputError(OSError):
    """Standard output cannot be written, which other errors of files are told from."""


class Output(io.TextIOWrapper):
    """Standard output. What no encoding knows, half of a file's name, say, is printed escaped."""

    def write(self, text: str) -> int:
        """Raises: OutputError: there is no room for it."""
        try:
            return super().write(text)
        except OSError as error:
            raise _output_error(error) from error

    def flush(self) -> None:
        """Raises: OutputError: likewise."""
        try:
            super().flush()
        except OSError as error:
            raise _output_error(error) from error


def _output_error(error: OSError) -> OSError:
    """A reader that has gone is known to be one."""
    return error if error.errno == errno.EPIPE else OutputError(error.errno, error.strerror)


def hold_streams() -> None:
    """Let those descriptors of standard streams that are closed lead nowhere. To be called before anything is opened.

    Else what is opened next takes their place: the memory that is shared with the audio callback was 2, and got what C libraries
    say of their troubles.
    """
    for descriptor, flags in LEADS_NOWHERE.items():
        try:
            os.fstat(descriptor)
        except OSError:
            _open_nowhere(descriptor, flags)
    if sys.stderr is None:  # as Python has it where there was none
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", write_through=True)
    if sys.stdout is None:
        sys.stdout = Output(io.FileIO(1, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True)
    elif type(sys.stdout) is io.TextIOWrapper:
        plain = sys.stdout
        sys.stdout = Output(plain.buffer, plain.encoding, "backslashreplace", None, plain.line_buffering, plain.write_through)


def drop_output() -> None:
    """Let what has been printed and cannot get out be lost, so that Python does not try once more at its end."""
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
