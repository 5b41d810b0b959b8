"""Folders of the user's, where there are any: neither a home directory nor a cache that can be written to is taken for granted."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def settle_environment() -> None:
    """Give libraries what they take for granted, for this process and those that it starts. To be called before they are imported.

    Without HOME and an entry in the list of users bokeh, OpenVINO and the hub's client end at their import, without a PATH pydub;
    librosa, where Numba can keep nothing.
    """
    os.environ.setdefault("PATH", os.defpath)
    if home() is None:
        os.environ["HOME"] = str(private_folder() or "/")
    cache = cache_folder()
    if cache is None or not writable(cache):
        kept = private_folder()
        if kept is not None:
            os.environ.setdefault("NUMBA_CACHE_DIR", str(kept / "numba"))


def home() -> Path | None:
    """The user's home directory; None where nobody says which it is."""
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
    """Where caches of the user's lie: $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base)
    found = home()
    return None if found is None else found / ".cache"


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def private_folder() -> Path | None:
    """A folder that only this user can read and write, gone when the session or the machine ends; None: nothing can be written to.

    What lies there is taken for this user's own, code among it. So it is neither a link, nor somebody else's, nor open to others:
    anybody may have made a folder of that name in the one for temporary files.
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


def _candidates() -> Iterator[Path]:
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(session):
        yield Path(session) / "specdiffd"
    try:
        yield Path(tempfile.gettempdir()) / f"specdiffd-{os.geteuid()}"
    except OSError:  # no folder for temporary files can be written to
        return
