"""The user's folders. There may be no home directory, and no cache that can be written to."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from specdiffd.base.errors import ConfigError


def settle_environment() -> None:
    """Set the environment variables that libraries need, for this process and those that it starts. Call it before they are imported.

    bokeh, OpenVINO and the hub's client cannot be imported without HOME or an entry in the list of users, pydub not without PATH, librosa
    not where Numba has no folder for its cache.
    """
    os.environ.setdefault("PATH", os.defpath)
    if home() is None:
        os.environ["HOME"] = str(private_folder() or "/")
    cache = cache_folder()
    if cache is None or not writable(cache):
        folder = private_folder()
        if folder is not None:
            os.environ.setdefault("NUMBA_CACHE_DIR", str(folder / "numba"))


def home() -> Path | None:
    """The user's home directory; None if neither HOME nor the list of users names one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expanded(name: str) -> Path:
    """A path with ``~`` as the home directory, where there is one."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def cache_folder() -> Path | None:
    """The user's cache folder: $XDG_CACHE_HOME or ~/.cache; None without a home directory."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base)
    found = home()
    return None if found is None else found / ".cache"


def writable(folder: Path) -> bool:
    """Whether files can be created in a folder. A missing folder is created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def private_folder() -> Path | None:
    """A folder that only this user can read and write, gone when the session or the machine ends; None if none can be created.

    Code that lies there is run. So a link, a folder of another user and one that others can read or write are refused: anybody may
    have created a folder of that name in the one for temporary files.
    """
    for folder in _candidates():
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077 and writable(folder):
            return folder
    return None


def runtime_directory() -> Path:
    """The folder for sockets: $XDG_RUNTIME_DIR/specdiffd, or a folder of this user's under the temporary directory.

    Raises:
        ConfigError: the environment names a relative path, which daemon and clients would take from different working directories.
    """
    for name, last in (("XDG_RUNTIME_DIR", "specdiffd"), ("TMPDIR", f"specdiffd-{os.geteuid()}")):
        base = os.environ.get(name)
        if base:
            if not os.path.isabs(base):
                raise ConfigError(f"${name} {base!r}: expected an absolute path")
            return Path(base) / last
    return Path("/tmp") / f"specdiffd-{os.geteuid()}"


def _candidates() -> Iterator[Path]:
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(session):
        yield Path(session) / "specdiffd"
    try:
        yield Path(tempfile.gettempdir()) / f"specdiffd-{os.geteuid()}"
    except OSError:  # no folder for temporary files can be written to
        return
