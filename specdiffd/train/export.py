"""Writes finished runs as a checkpoint in the hub layout."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from specdiffd.base.formats import MelFormat
from specdiffd.diffusion.sampler import FlowConfig
from specdiffd.instruments.checkpoint import save_component
from specdiffd.instruments.layout import (
    CONTEXT_ENCODER,
    DECODER,
    INDEX,
    INDEX_CLASS,
    NOTES_ENCODER,
    PRIOR,
    SCHEDULER,
    SCHEDULER_CONFIG,
    VOCODER,
    write_json,
)
from specdiffd.train.loop import STATE, read_state

TABLES = ("colours.weight", "dynamics.weight", "unrest.weight", "memory.weight", "key.weight")  # of the prior, most of its size
PARTS = {"prior": (PRIOR,), "decoder": (NOTES_ENCODER, CONTEXT_ENCODER, DECODER), "vocoder": (VOCODER,)}


def export(out: Path, fmt: MelFormat, sources: Mapping[str, Path], name: str) -> None:
    """Write the averaged weights as one instrument: float16; the prior's tables and the decoder's matrices in eight bits.

    Args:
        sources: for each of ``PARTS`` its run, or a checkpoint to copy its components from.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_json(
        out / INDEX, {"_class_name": INDEX_CLASS, "name": name, "mel_format": {k: getattr(fmt, k) for k in fmt.__dataclass_fields__}}
    )
    (out / SCHEDULER).mkdir(exist_ok=True)
    write_json(out / SCHEDULER / SCHEDULER_CONFIG, {"_class_name": "SpecdiffdFlow", **asdict(FlowConfig())})
    for part, source in sources.items():
        export_part(out, part, source)


def export_part(out: Path, part: str, source: Path) -> None:
    """Write the components of one of ``PARTS`` from its run, or copy them from a checkpoint."""
    components = PARTS[part]
    if not (source / STATE).exists():
        for name in components:
            shutil.copytree(source / name, out / name, dirs_exist_ok=True)
        return
    run = read_state(source / STATE)
    config, weights = run["config"], run["average"]
    if part == "prior":  # float8 rounds a gain by a sixteenth at most, which nobody hears
        weights = weights | {name: weights[name].to(torch.float8_e4m3fn) for name in TABLES}
    if part != "decoder":
        save_component(out / components[0], config, weights)
        return
    configs = {
        NOTES_ENCODER: {**config["encoder"], "codec": config["codec"]},
        CONTEXT_ENCODER: config["encoder"],
        DECODER: config["decoder"],
    }
    for name, component_config in configs.items():
        save_component(out / name, component_config, _under(weights, name), whole_numbers=True)


def _under(weights: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")}
