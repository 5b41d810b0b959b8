"""Sound files, written under a temporary name until they are complete."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specdiffd.base.errors import SpecdiffdError, UsageError

STANDARD_OUTPUT = Path("-")
FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}
OTHER_SOUND = {".aac", ".aif", ".aiff", ".alac", ".au", ".caf", ".m4a", ".mp3", ".opus", ".raw", ".w64", ".wma"}
WAV_BYTES = (1 << 32) - (1 << 16)  # largest size of a WAV file's samples: its header counts bytes in 32 bits
PROBE_BYTES = 1 << 16  # written to find out whether a disk has room: fewer may fit where a file does not


def is_sound_file(path: Path) -> bool:
    """Whether a path names a sound file, or standard output, and not a folder.

    Raises:
        UsageError: a format that is not written here.
    """
    suffix = path.suffix.lower()
    if suffix in OTHER_SOUND and not path.is_dir():
        raise UsageError(f"{path}: {suffix} files are not written here, expected {', '.join(FORMATS)}")
    return path == STANDARD_OUTPUT or (suffix in FORMATS and not path.is_dir())


def check_writable(path: Path, force: bool) -> None:
    """Check before the work begins whether a file can be written. Missing folders are made.

    Raises:
        UsageError: it exists and ``force`` is not set, or it is not a file.
        SpecdiffdError: it cannot be made; the text says why.
    """
    if path == STANDARD_OUTPUT:
        return
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} exists and is no file")
    if path.exists() and not force:
        raise UsageError(f"{path} exists: --force replaces it")
    with whole_file(path) as (part, discard):
        part.write_bytes(bytes(PROBE_BYTES))
        discard()


@contextmanager
def whole_file(path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A file that is renamed to ``path`` when it is complete, and removed after an error or when it is discarded.

    Yields:
        its temporary path, and a function that discards it.

    Raises:
        SpecdiffdError: it cannot be written; the text says why.
    """
    folder = Path(tempfile.gettempdir()) if path == STANDARD_OUTPUT else path.parent
    part = folder / f".{path.name}.{os.getpid()}.part"
    kept = [True]
    if folder.exists() and not folder.is_dir():
        raise SpecdiffdError(f"cannot write {path}: {folder} is no folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield part, kept.clear
        if kept and path == STANDARD_OUTPUT:
            with part.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        elif kept:
            os.replace(part, path)
    except BrokenPipeError:
        raise  # the reader has closed the pipe
    except OSError as error:
        raise SpecdiffdError(f"cannot write {path}: {error.strerror or error}") from error
    except RuntimeError as error:  # soundfile's errors name no cause
        raise SpecdiffdError(f"cannot write {path}: {_cause(part) or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _cause(part: Path) -> str | None:
    """The system's reason why a file cannot grow, if there is one."""
    try:
        with part.open("ab", buffering=0) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        return error.strerror
    return None


@contextmanager
def sound_file(path: Path, sample_rate_hz: int, channels: int, most_samples: int) -> Iterator[Any]:
    """A `soundfile.SoundFile` in the format of the path's suffix; RF64 if the samples may be too many for a WAV file.

    Args:
        path: of the complete file.
        sample_rate_hz: of the audio.
        channels: of the audio.
        most_samples: upper limit of its length.

    Raises:
        SpecdiffdError: as :func:`whole_file`.
    """
    import soundfile

    kind, subtype = FORMATS[path.suffix.lower() or ".wav"]
    if kind == "WAV" and 2 * channels * most_samples > WAV_BYTES:
        kind = "RF64"
    with whole_file(path) as (part, _), soundfile.SoundFile(os.fsencode(part), "w", sample_rate_hz, channels, subtype, format=kind) as file:
        if kind != "OGG":
            file.software = "specdiffd"
        yield file


class Silence:
    """Writes zeros in pieces: hours of silence need little memory."""

    def __init__(self, channels: int, samples: int = 1 << 16) -> None:
        self._zeros = np.zeros((samples, channels), np.float32)

    def write(self, file: Any, samples: int) -> None:
        """Write ``samples`` of silence to a `soundfile.SoundFile`."""
        for first in range(0, samples, len(self._zeros)):
            file.write(self._zeros[: samples - first])


def is_ours(path: Path) -> bool:
    """Whether a sound file was written by :func:`sound_file`."""
    import soundfile

    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            return str(file.software).startswith("specdiffd")
    except (OSError, RuntimeError):
        return False


@contextmanager
def array_file(path: Path, width: int) -> Iterator[Callable[[NDArray[np.float32]], object]]:
    """A .npy file (1, rows, ``width``), written row by row.

    Yields:
        a function that takes the next rows (n, ``width``).

    Raises:
        SpecdiffdError: as :func:`whole_file`.
    """
    with whole_file(path) as (part, _), tempfile.TemporaryFile(dir=path.parent) as body:
        yield lambda rows: body.write(np.ascontiguousarray(rows, "<f4").tobytes())
        shape = (1, body.tell() // (4 * width), width)
        body.seek(0)
        with part.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            shutil.copyfileobj(body, file)
