"""Checkpoints by name: list, describe, pull from the hub, convert."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from specdiffd.base.errors import CheckpointError, UsageError
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.instruments.checkpoint import read_weights, save_component
from specdiffd.instruments.layout import (
    BUILTIN,
    CONFIG,
    HUB_ID,
    INDEX,
    INDEX_CLASS,
    ONNX_VOCODER,
    PICKLED_WEIGHTS,
    PUBLISHED_CLASS,
    VOCODER,
    WEIGHTS,
    checkpoint_folder,
    read_json,
)
from specdiffd.instruments.loading import AnyInstrument, load_instrument

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# The files of the layout; a repository may hold other files, of any size, which are not pulled.
PATTERNS = [
    INDEX,
    f"*/{CONFIG}",
    "scheduler/scheduler_config.json",
    f"*/{WEIGHTS}",
    f"*/{PICKLED_WEIGHTS}",
    f"{ONNX_VOCODER}/*",
    "README.md",
]
CHUNK_BYTES = 1 << 20


def list_instruments() -> list[dict[str, Any]]:
    """The built-in instrument and the checkpoints in the hub's cache: name, kind, folder, size in bytes."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    found = [("builtin", BUILTIN)]
    try:
        for repo in sorted(scan_cache_dir(constants.HF_HUB_CACHE).repos, key=lambda r: r.repo_id):
            found += [(repo.repo_id, r.snapshot_path) for r in repo.revisions if "main" in r.refs and (r.snapshot_path / INDEX).exists()]
    except CacheNotFound:
        pass
    rows = []
    for name, folder in found:
        kind = read_json(folder / INDEX).get("_class_name")
        if kind in (INDEX_CLASS, PUBLISHED_CLASS):
            rows.append({"name": name, "kind": _kind(kind), "folder": str(folder), "bytes": _size(folder)})
    return rows


def describe(name: str) -> dict[str, Any]:
    """An instrument's sizes and parts. Loads it, so damage is found.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    folder = checkpoint_folder(name)
    instrument = load_instrument(name, "cpu", "float32")
    fmt = instrument.format
    return {
        "name": name,
        "kind": _kind(read_json(folder / INDEX).get("_class_name")),
        "folder": str(folder),
        "bytes": _size(folder),
        "sample_rate_hz": fmt.sample_rate_hz,
        "frame_ms": round(1000 * fmt.frame_s, 3),
        "mel_bins": fmt.mel_bins,
        "window_s": round(instrument.window_frames * fmt.frame_s, 3),
        "steps": instrument.steps,
        "velocity_levels": instrument.codec.velocity_bins,
        "programs": instrument.codec.program_granularity,
        "parameters": _parameters(instrument),
        "vocoder": "its own" if (folder / VOCODER).exists() or (folder / ONNX_VOCODER).exists() else "the built-in one",
        "vocoder_lookahead_frames": instrument.lookahead_frames,
    }


def pull(hub_id: str, revision: str | None = None) -> Path:
    """Fetch a checkpoint into the hub's shared cache, going on where an earlier attempt stopped, and check every file.

    Raises:
        UsageError: it is not a hub id.
        CheckpointError: the hub cannot be reached, it is no checkpoint of this layout, or a file's hash is wrong.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not HUB_ID.fullmatch(hub_id):
        raise UsageError(f"{hub_id!r} is no hub id, expected OWNER/NAME")
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=PATTERNS))
    except LocalEntryNotFoundError as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise CheckpointError(f"{hub_id}: not in the cache, and the hub cannot be asked{offline}") from error
    except HfHubHTTPError as error:
        raise CheckpointError(f"{hub_id}: {str(error).strip().splitlines()[0]}") from error
    except Exception as error:  # which HTTP library breaks off depends on the version of huggingface_hub
        raise CheckpointError(f"{hub_id}: {type(error).__name__}: {error}; pull again to go on where it stopped") from error
    damaged = [report for path in sorted(p for p in folder.rglob("*") if p.is_file()) if (report := _verify(path))]
    if damaged:
        raise CheckpointError(f"{'; '.join(damaged)}; removed, pull again")
    kind = read_json(folder / INDEX).get("_class_name")
    if kind not in (INDEX_CLASS, PUBLISHED_CLASS):
        raise CheckpointError(f"{hub_id}: {INDEX} names {kind!r}, expected {PUBLISHED_CLASS!r} or {INDEX_CLASS!r}")
    return folder


def _verify(path: Path) -> str | None:
    """What is wrong with a file of the cache, if anything; then it is removed. Its name is its SHA-256 (large files) or git's SHA-1."""
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
        digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False)
    else:
        return None
    with blob.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() == blob.name:
        return None
    blob.unlink()
    path.unlink(missing_ok=True)
    return f"{path}: its hash is {digest.hexdigest()}, expected {blob.name}"


def convert(name: str, out: Path, dtype: str = "bfloat16") -> Path:
    """Write a checkpoint again with safetensors of another precision, which is loaded by mapping the file.

    Raises:
        UsageError: ``out`` is there already, or the precision is unknown.
        CheckpointError: the checkpoint is missing or damaged; nothing is left behind.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    if out.exists():
        raise UsageError(f"{out} is there already")
    folder = checkpoint_folder(name)
    load_instrument(name, "cpu", "float32")  # everything fits
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for source in sorted(folder.iterdir()):
            if source.is_file():
                partial.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, partial / source.name)
            elif (source / WEIGHTS).exists() or (source / PICKLED_WEIGHTS).exists():
                save_component(partial / source.name, read_json(source / CONFIG), read_weights(source), DTYPES[dtype])
            else:
                shutil.copytree(source, partial / source.name)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _kind(class_name: Any) -> str:
    return {INDEX_CLASS: "built-in family", PUBLISHED_CLASS: "published family"}.get(class_name, str(class_name))


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _parameters(instrument: AnyInstrument) -> Mapping[str, int]:
    parts: dict[str, Any] = {
        "notes_encoder": instrument.notes_encoder,
        "continuous_encoder": instrument.context_encoder,
        "decoder": instrument.decoder,
        "vocoder": instrument.vocoder,
    }
    if isinstance(instrument, SpectrogramInstrument):
        parts["note_prior"] = instrument.prior
    return {part: sum(p.numel() for p in module.parameters()) for part, module in parts.items() if isinstance(module, torch.nn.Module)}
