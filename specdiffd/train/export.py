"""Finished runs to a checkpoint in the hub layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from specdiffd.formats import MelFormat
from specdiffd.layout import CONTEXT_ENCODER, DECODER, INDEX, INDEX_CLASS, NOTES_ENCODER, PRIOR, VOCODER, write_json
from specdiffd.model.checkpoint import save_component


def export(out: Path, fmt: MelFormat, prior_run: Path, decoder_run: Path, vocoder_run: Path, name: str) -> None:
    """Write the averaged weights of three runs, float16, as one instrument."""
    out.mkdir(parents=True, exist_ok=True)
    prior, decoder, vocoder = (torch.load(run / "state.pt", weights_only=True) for run in (prior_run, decoder_run, vocoder_run))
    index = {"_class_name": INDEX_CLASS, "name": name, "mel_format": {k: getattr(fmt, k) for k in fmt.__dataclass_fields__}}
    write_json(out / INDEX, index)
    save_component(out / PRIOR, prior["config"], prior["average"])
    save_component(out / VOCODER, vocoder["config"], vocoder["average"])
    networks = decoder["config"]
    save_component(out / NOTES_ENCODER, {**networks["encoder"], "codec": networks["codec"]}, _under(decoder["average"], "notes_encoder."))
    save_component(out / CONTEXT_ENCODER, networks["encoder"], _under(decoder["average"], "continuous_encoder."))
    save_component(out / DECODER, networks["decoder"], _under(decoder["average"], "decoder."))


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
