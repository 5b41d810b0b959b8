"""The layout of a checkpoint: a directory with a config.json and weights for each component (the hub layout)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from specdiffd.base.errors import CheckpointError
from specdiffd.base.folders import expanded

INDEX = "model_index.json"
INDEX_CLASS = "SpecdiffdInstrument"  # in the index of instruments made here
CONFIG = "config.json"
WEIGHTS, PICKLED_WEIGHTS = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"
ONNX_VOCODER, ONNX_WEIGHTS = "melgan", "model.onnx"
PUBLISHED_CLASS = "SpectrogramDiffusionPipeline"  # in the index of the published checkpoints
NOTES_ENCODER, CONTEXT_ENCODER, DECODER, PRIOR, VOCODER = "notes_encoder", "continuous_encoder", "decoder", "note_prior", "vocoder"
SCHEDULER, SCHEDULER_CONFIG = "scheduler", "scheduler_config.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
BUILTIN = Path(__file__).parents[1] / "weights" / "builtin"
STAND_IN = Path(__file__).parents[1] / "weights" / "published"  # has the vocoder for published checkpoints without one

C = TypeVar("C")


class WindowLength(msgspec.Struct, frozen=True):
    """The window's length from a decoder's config, for code that does not load the network."""

    targets_length: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 256  # frames


def checkpoint_folder(name: str) -> Path:
    """The folder of the instrument called ``builtin``, of a checkpoint in a directory, or of one pulled from the hub.

    Raises:
        CheckpointError: there is no such directory, it may not be looked at, or it has not been pulled.
    """
    folder = BUILTIN if name == "builtin" else expanded(name)
    try:
        if folder.is_dir():
            return folder
    except OSError as error:
        raise CheckpointError(f"instrument {name!r}: {folder}: {error.strerror}") from error
    if HUB_ID.fullmatch(name):
        pulled = pulled_folder(name)
        if pulled is None:
            raise CheckpointError(f"instrument {name!r}: no directory of this name, and not pulled yet: specdiffd instruments pull {name}")
        return pulled
    raise CheckpointError(f"instrument {name!r}: no directory {folder}")


def pulled_folder(hub_id: str) -> Path | None:
    """The folder of a checkpoint in the hub's cache, if it is there; does not use the network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, INDEX)
    return Path(found).parent if isinstance(found, str) else None


def read_config(path: Path, kind: type[C], key: str | None = None) -> C:
    """A JSON file (or the object under one of its keys) as ``kind``; missing fields take their defaults, unknown ones are ignored.

    Raises:
        CheckpointError: the file is missing, or its values have wrong types.
    """
    raw = read_json(path)
    if key is not None:
        raw = raw.get(key, {})
        if not isinstance(raw, dict):
            raise CheckpointError(f"{path}: {key} should be an object, found {raw!r}")
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
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
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object to a file."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
