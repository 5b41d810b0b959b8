"""Instruments by name: from checkpoints in the hub layout to something that plays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from specdiffd.backends.base import Backend
from specdiffd.backends.eager import Eager
from specdiffd.backends.openvino import OpenVino
from specdiffd.backends.precision import bfloat16_is_faster
from specdiffd.base.errors import CheckpointError, DeviceError, UsageError
from specdiffd.base.formats import FORMATS, MelFormat
from specdiffd.base.instrument import RenderSettings
from specdiffd.diffusion.config import DecoderConfig, EncoderConfig
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.encoders import ContextEncoder, NotesEncoder
from specdiffd.diffusion.sampler import FlowConfig
from specdiffd.diffusion.schedule import CLASSES, SCHEDULERS, DiffusionConfig
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.instruments.components import Loader, check_causal, check_widths
from specdiffd.instruments.layout import (
    CONFIG,
    CONTEXT_ENCODER,
    DECODER,
    INDEX,
    INDEX_CLASS,
    NOTES_ENCODER,
    ONNX_VOCODER,
    ONNX_WEIGHTS,
    PRIOR,
    PUBLISHED_CLASS,
    SCHEDULER,
    SCHEDULER_CONFIG,
    STAND_IN,
    VOCODER,
    checkpoint_folder,
    read_config,
    read_json,
)
from specdiffd.instruments.networks import Networks
from specdiffd.instruments.published import PublishedInstrument
from specdiffd.instruments.streaming import StreamingVocoder
from specdiffd.prior.config import PriorConfig
from specdiffd.prior.network import NotePrior
from specdiffd.tokens.codec import Codec
from specdiffd.vocoder.config import VocoderConfig
from specdiffd.vocoder.onnx import OnnxVocoder
from specdiffd.vocoder.streaming import Vocoder

AnyInstrument = SpectrogramInstrument | PublishedInstrument
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# The components of a published checkpoint, and the classes that its index may name for each.
PUBLISHED_PARTS: dict[str, set[str | None]] = {
    NOTES_ENCODER: {"SpectrogramNotesEncoder"},
    CONTEXT_ENCODER: {"SpectrogramContEncoder"},
    DECODER: {"T5FilmDecoder"},
    SCHEDULER: {*CLASSES},
    ONNX_VOCODER: {"OnnxRuntimeModel", None},
}


def load_instrument(
    name: str,
    device: str = "cpu",
    dtype: str = "auto",
    settings: RenderSettings | None = None,
    hop_frames: int = 128,
    random_weights: bool = False,
    threads: int | None = None,
    parts: int = 1,
    graphs: bool = True,
) -> AnyInstrument:
    """The instrument called ``builtin``, or the checkpoint in a directory.

    Args:
        device: a torch device.
        dtype: of the networks: float32, bfloat16, or auto (bfloat16 where the device has units for it).
        random_weights: keep the shapes, leave the weights untrained (to measure speed).
        threads: of the networks on a CPU; None: as many as there are cores.
        parts: how many scores are rendered at once. On a CPU networks run as graphs, which are made for one batch size.
        graphs: False: PyTorch runs the networks on a CPU too (to compare sizes without a graph).

    Raises:
        CheckpointError: it is missing, damaged or of an unknown kind, or does not support ``settings``.
        UsageError: an unknown ``dtype``.
    """
    folder = checkpoint_folder(name)
    index = read_json(folder / INDEX)
    load = Loader(folder, device, _dtype(dtype, device), random_weights)
    torch.set_num_threads(threads := threads or os.cpu_count() or 1)
    settings = settings or RenderSettings()
    match index.get("_class_name"):
        case kind if kind == INDEX_CLASS:
            return _load_builtin(load, _backend(device, threads if graphs else None), settings, hop_frames, parts)
        case kind if kind == PUBLISHED_CLASS:
            return _load_published(load, index, settings, hop_frames)
        case other:
            raise CheckpointError(f"{folder / INDEX}: _class_name is {other!r}, expected {INDEX_CLASS!r} or {PUBLISHED_CLASS!r}")


def _load_builtin(load: Loader, backend: Backend, settings: RenderSettings, hop_frames: int, parts: int) -> SpectrogramInstrument:
    if settings.scheduler not in (None, "flow"):
        raise CheckpointError(f"{load.folder}: scheduler {settings.scheduler!r}: this instrument has its own, called flow")
    if settings.guidance != 1:
        raise CheckpointError(f"{load.folder}: guidance {settings.guidance}: this instrument was trained without, only 1 is possible")
    notes, context = load.config(NOTES_ENCODER, EncoderConfig), load.config(CONTEXT_ENCODER, EncoderConfig)
    prior, decoder, vocoder = load.config(PRIOR, PriorConfig), load.config(DECODER, DecoderConfig), load.config(VOCODER, VocoderConfig)
    fmt = read_config(load.folder / INDEX, MelFormat, "mel_format")
    check_widths(load.folder, fmt, notes, context, decoder)
    check_causal(load.folder, True, notes, decoder)
    networks = Networks(
        load(NOTES_ENCODER, lambda: NotesEncoder(notes, backend)),
        load(CONTEXT_ENCODER, lambda: ContextEncoder(context, backend)),
        load(DECODER, lambda: Decoder(decoder, backend)),
        load(VOCODER, lambda: Vocoder(vocoder, backend), torch.float32).use(load.dtype),
        load(PRIOR, lambda: NotePrior(prior), torch.float32),
    )
    backend.add(networks.kernels(parts))
    if isinstance(backend, OpenVino):
        # PyTorch's threads spin while they wait, and would disturb those of the graphs; the work left to PyTorch is small.
        torch.set_num_threads(1)
    codec, flow = load.config(NOTES_ENCODER, Codec, "codec"), load.config(SCHEDULER, FlowConfig)
    return SpectrogramInstrument(fmt, codec, networks, settings, hop_frames, flow, parts)


def _backend(device: str, graph_threads: int | None) -> Backend:
    """The backend for a device: on a CPU graphs with ``graph_threads`` threads, or PyTorch if that is None; elsewhere PyTorch."""
    if torch.device(device).type != "cpu":
        return Eager()
    return Eager(loops=True) if graph_threads is None else OpenVino(graph_threads)


def _load_published(load: Loader, index: dict[str, Any], settings: RenderSettings, hop_frames: int) -> PublishedInstrument:
    kinds = _published_classes(load.folder / INDEX, index)
    fmt = read_config(load.folder / INDEX, MelFormat, "mel_format") if "mel_format" in index else MelFormat()
    notes, context = load.config(NOTES_ENCODER, EncoderConfig), load.config(CONTEXT_ENCODER, EncoderConfig)
    decoder = load.config(DECODER, DecoderConfig)
    check_widths(load.folder, fmt, notes, context, decoder)
    check_causal(load.folder, False, notes, decoder)
    codec = load.config(NOTES_ENCODER, Codec, "codec")
    if codec.drum_base + 128 > notes.vocab_size:
        raise CheckpointError(
            f"{load.folder / NOTES_ENCODER / CONFIG}: vocab_size {notes.vocab_size}: the codec has {codec.drum_base + 128} ids"
        )
    if notes.max_length < codec.max_tokens:
        codec = replace(codec, max_tokens=notes.max_length)
    if settings.scheduler not in (None, *SCHEDULERS):
        raise CheckpointError(f"{load.folder}: scheduler {settings.scheduler!r}: expected one of {', '.join(SCHEDULERS)}")
    try:
        return PublishedInstrument(
            fmt,
            codec,
            load(NOTES_ENCODER, lambda: NotesEncoder(notes)),
            load(CONTEXT_ENCODER, lambda: ContextEncoder(context)),
            load(DECODER, lambda: Decoder(decoder)),
            _published_vocoder(load, fmt),
            load.config(SCHEDULER, DiffusionConfig),
            CLASSES[kinds[SCHEDULER]],
            settings,
            hop_frames,
        )
    except ValueError as error:  # steps that the schedule does not have
        raise CheckpointError(f"{load.folder / SCHEDULER / SCHEDULER_CONFIG}: {error}") from error


def _published_classes(path: Path, index: dict[str, Any]) -> dict[str, Any]:
    """The class of each component that the index names, checked."""
    found: dict[str, Any] = {}
    for part, value in index.items():
        if part.startswith("_") or part == "mel_format":
            continue
        if part not in PUBLISHED_PARTS:
            raise CheckpointError(f"{path}: unknown component {part!r}, expected {', '.join(PUBLISHED_PARTS)}")
        if not (isinstance(value, list) and len(value) == 2 and value[1] in PUBLISHED_PARTS[part]):
            expected = " or ".join(str(k) for k in sorted(PUBLISHED_PARTS[part], key=str))
            raise CheckpointError(f"{path}: {part} is {value!r}, expected a pair of library and class, {expected}")
        found[part] = value[1]
    for part in PUBLISHED_PARTS:
        if part not in found and part != ONNX_VOCODER:
            raise CheckpointError(f"{path}: component {part} is missing")
    return found


def _published_vocoder(load: Loader, fmt: MelFormat) -> StreamingVocoder:
    """The checkpoint's vocoder if it has one, else the package's vocoder for the published mel format."""
    for path in (load.folder / ONNX_VOCODER / ONNX_WEIGHTS, load.folder / VOCODER / ONNX_WEIGHTS):
        if path.exists():
            return OnnxVocoder(path, fmt)
    if fmt != FORMATS["published"]:
        raise CheckpointError(f"{load.folder}: no {ONNX_VOCODER}/{ONNX_WEIGHTS}, and no vocoder that is there has its mel format")
    stand_in = Loader(STAND_IN, load.device, load.dtype, load.random_weights)
    config = stand_in.config(VOCODER, VocoderConfig)
    backend = _backend(load.device, None)
    return stand_in(VOCODER, lambda: Vocoder(config, backend), torch.float32).use(load.dtype)


def load_builtin_family(
    name: str,
    device: str = "cpu",
    dtype: str = "auto",
    settings: RenderSettings | None = None,
    random_weights: bool = False,
    threads: int | None = None,
    graphs: bool = True,
) -> SpectrogramInstrument:
    """As :func:`load_instrument`, for work that needs a note prior.

    Raises:
        CheckpointError: as :func:`load_instrument`, or it is a published checkpoint.
    """
    instrument = load_instrument(name, device, dtype, settings, random_weights=random_weights, threads=threads, graphs=graphs)
    if not isinstance(instrument, SpectrogramInstrument):
        raise CheckpointError(f"instrument {name!r} is a published checkpoint; this needs one of the built-in family, with a {PRIOR}")
    return instrument


def pick_device(name: str) -> str:
    """A torch device's name; ``auto`` is the GPU if there is one.

    Raises:
        DeviceError: there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device {name!r}: {str(error).splitlines()[0]}") from error
    return name


def _dtype(name: str, device: str) -> torch.dtype:
    """The dtype of the networks.

    Raises:
        UsageError: an unknown name.
    """
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise UsageError(f"dtype {name!r}: expected one of auto, {', '.join(DTYPES)}")
    return torch.bfloat16 if bfloat16_is_faster(device) else torch.float32
