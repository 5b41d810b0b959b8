"""Where things are in a checkpoint: a directory with a config.json and weights for each component (the hub layout)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from specdiffd.errors import CheckpointError

INDEX = "model_index.json"
INDEX_CLASS = "SpecdiffdInstrument"  # in the index of instruments made here
CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
NOTES_ENCODER, CONTEXT_ENCODER, DECODER, PRIOR, VOCODER = "notes_encoder", "continuous_encoder", "decoder", "note_prior", "vocoder"
BUILTIN = Path(__file__).parent / "weights" / "builtin"

C = TypeVar("C")


def checkpoint_folder(name: str) -> Path:
    """Where the instrument called ``builtin``, or the checkpoint in a directory, lies.

    Raises:
        CheckpointError: there is no such directory.
    """
    folder = BUILTIN if name == "builtin" else Path(name).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"instrument {name!r}: no directory {folder}")
    return folder


def read_config(path: Path, kind: type[C], key: str | None = None) -> C:
    """A JSON file (or the object under one of its keys) as ``kind``; missing fields take their defaults, others are ignored.

    Raises:
        CheckpointError: the file is missing or not what it should be.
    """
    raw = read_json(path)
    if key is not None:
        raw = raw.get(key, {})
        if not isinstance(raw, dict):
            raise CheckpointError(f"{path}: {key} should be an object, found {raw!r}")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{k: v for k, v in raw.items() if k in known})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: the file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object to a file."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
