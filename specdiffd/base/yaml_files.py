"""YAML from outside: bounded, and every error as one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from specdiffd.base.errors import ConfigError
from specdiffd.base.text import clipped, printable, told

# Of a configuration, which has some thousands. Without a limit, a device or a recording that is given by mistake is read into memory.
MAX_FILE_BYTES = 1 << 20


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of sections; an empty file has none.

    Raises:
        ConfigError: it cannot be read, is too large, or holds something else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path} not found") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: more than {MAX_FILE_BYTES} bytes, expected a configuration")
    raw = parse_yaml(data, str(path))
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections with keys, found {type(raw).__name__}")
    return raw


def parse_yaml(text: str | bytes, source: str) -> Any:
    """YAML as plain values.

    Raises:
        ConfigError: it is no YAML; one line that begins with ``source``. No other error, whatever the text is: PyYAML lets through
            the errors of its conversions (a KeyError for ``!!bool x``, a ValueError for ``2024-99-99``).
    """
    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise ConfigError(f"{source}: {place}{printable(clipped(error.problem or error.context or 'not understood'))}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {clipped(' '.join(str(error).split()))}") from error
    except Exception as error:
        raise ConfigError(f"{source}: a value that is none of its kind ({type(error).__name__}: {told(error)})") from error
