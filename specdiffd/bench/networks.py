"""Times the decoder and the vocoder alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch

from specdiffd.base.events import Controllers, Note, Performance
from specdiffd.base.sizes import SIZES
from specdiffd.bench.machine import machine, waiting_for
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.prior.note_features import note_features

K = TypeVar("K")


@torch.inference_mode()
def bench_decoder(instrument: SpectrogramInstrument, frames: int, repeats: int) -> dict[str, Any]:
    """One step of the decoder on the last ``frames`` of a window whose other frames are cached, and on the whole window.

    A causal decoder needs the first; without causality every step would be the second. The instrument must have been loaded
    without graphs: there is no graph of a whole window, and a graph cannot be compared with PyTorch.
    """
    decoder, bins, whole = instrument.decoder, instrument.format.mel_bins, instrument.window_frames
    torch.manual_seed(0)
    x, prior = torch.randn(2, 1, whole, bins, device=instrument.device)
    encodings = torch.randn(1, 512, decoder.config.d_model, device=instrument.device)
    conditioning = decoder.condition(encodings.to(decoder.spec_out.weight.dtype), torch.zeros(1, 512, device=instrument.device))
    films = decoder.schedule(torch.ones(1, device=instrument.device)).at(torch.zeros(1, 1, dtype=torch.int64, device=instrument.device))
    empty = decoder.init_state(1)
    before = slice(0, whole - frames)
    _, cached = decoder.step(x[:, before], prior[:, before], films, conditioning, empty)
    calls = {
        "cached": lambda: decoder.step(x[:, -frames:], prior[:, -frames:], films, conditioning, cached),
        "whole": lambda: decoder.step(x, prior, films, conditioning, empty),
    }
    median_ms = {name: round(1e3 * seconds, 2) for name, seconds in _median_s(calls, repeats, instrument.device).items()}
    return {
        "machine": machine(instrument.device),
        "frames": frames,
        "window_frames": whole,
        "cached_p50_ms": median_ms["cached"],
        "whole_p50_ms": median_ms["whole"],
    }


@torch.inference_mode()
def bench_vocoder(instrument: SpectrogramInstrument, frames: int, repeats: int) -> dict[str, Any]:
    """The vocoder alone, on a chord of eight notes and its guide: ``frames`` at once, and the longest stretch that there is a graph of."""
    instrument.warm_up()
    fmt, prior, vocoder = instrument.format, instrument.prior, instrument.vocoder
    notes = [Note(0.0, pitch, velocity=100, program=0, channel=0) for pitch in range(40, 80, 5)]
    performance = Performance(notes, {0: Controllers()})
    features = note_features(performance, fmt.starts_s(0, SIZES.pass_frames), prior.config.window_s, prior.config.ring_s)
    played = instrument.played(features)
    mel, guides = (x[None].to(instrument.device) for x in (played.mel, played.guide))
    state = vocoder.init_state(1)
    calls = {
        "short": lambda: vocoder.step(mel[:, :frames], state, guides[:, :frames]),
        "long": lambda: vocoder.step(mel, state, guides),
    }
    median_s = _median_s(calls, repeats, instrument.device)
    return {
        "machine": machine(instrument.device),
        "frames": frames,
        "p50_ms": round(1e3 * median_s["short"], 2),
        "seconds_per_second": round(median_s["long"] / (SIZES.pass_frames * fmt.frame_s), 4),
    }


def _median_s(calls: Mapping[K, Callable[[], object]], repeats: int, device: torch.device) -> dict[K, float]:
    """Median seconds of calls that take turns, ``repeats`` times each after a fifth as many that are not counted."""
    settle, warm_up = waiting_for(device), repeats // 5
    times: dict[K, list[float]] = {name: [] for name in calls}
    for _ in range(warm_up + repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            settle()
            times[name].append(time.perf_counter() - started)
    return {name: float(np.median(seconds[warm_up:])) for name, seconds in times.items()}
