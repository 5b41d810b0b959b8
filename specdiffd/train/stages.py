"""The stages that make the built-in instrument: note prior, its colours, decoder upon it, the same straightened, vocoder; one checkpoint of all.

A run is a folder with one resumable run for each stage and the exported checkpoint. A stage that the folder does not
hold is taken from the checkpoint that the run starts from, so any of them can be trained further on its own.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from specdiffd.base.errors import UsageError
from specdiffd.base.formats import FORMATS, MelFormat
from specdiffd.diffusion.config import DecoderConfig, EncoderConfig
from specdiffd.dsp.mel import centres_hz
from specdiffd.instruments.checkpoint import load_weights
from specdiffd.instruments.layout import CONFIG, DECODER, INDEX, PRIOR, read_config
from specdiffd.prior.config import PriorConfig
from specdiffd.prior.network import NotePrior
from specdiffd.prior.playing import PlayedPrior
from specdiffd.reference.pieces import solo_piece
from specdiffd.tokens.codec import Codec
from specdiffd.train.colours import fit_colours
from specdiffd.train.data import PieceBank
from specdiffd.train.export import export, export_part
from specdiffd.train.loop import STATE, read_state
from specdiffd.train.spectrogram import train_decoder, train_prior
from specdiffd.train.vocoder import train_vocoder
from specdiffd.vocoder.config import VocoderConfig

log = logging.getLogger(__name__)
# Stages in order and the share of the minutes that each takes; colours need ten on two cores.
STAGES = {"prior": 0.2, "colours": 0.05, "decoder": 0.25, "reflow": 0.2, "vocoder": 0.3}
USUAL = ("prior", "colours", "decoder", "vocoder")  # reflow keeps what eight steps make: worth it where that is better than what one makes
MADE_BY = {
    "prior": ("colours", "prior"),
    "decoder": ("reflow", "decoder"),
    "vocoder": ("vocoder",),
}  # parts, and the stages, the last one first
REFLOW_STEPS = 8  # of the decoder whose results the reflow stage learns from
CHECKPOINT = "checkpoint"
CODEC = Codec(steps_per_second=200, max_shift_steps=1100, velocity_bins=32, program_granularity="full")


def prior_config(fmt: MelFormat) -> PriorConfig:
    """The note prior of instruments in a format."""
    return PriorConfig(fmt.mel_bins, fmt.sample_rate_hz, fmt.window_samples, fmt.fft_size, fmt.low_hz, fmt.high_hz, fmt.log_floor)


def encoder_config(fmt: MelFormat) -> EncoderConfig:
    """Likewise the encoders of notes and context."""
    return EncoderConfig(
        d_model=256,
        num_layers=2,
        num_heads=4,
        d_ff=768,
        vocab_size=-(-CODEC.vocabulary_size // 128) * 128,
        input_dims=fmt.mel_bins,
        causal=True,
        scaled_attention=True,
    )


def decoder_config(fmt: MelFormat) -> DecoderConfig:
    """Likewise the decoder."""
    return DecoderConfig(
        d_model=256,
        num_layers=5,
        num_heads=4,
        d_ff=768,
        input_dims=fmt.mel_bins,
        causal=True,
        scaled_attention=True,
        stem_channels=16,
        noise_scale=0.08,
        film_width=512,
    )


# Partials above it are left to the noise. A sum of magnitudes makes of tones noise of less power: with tones to 7 kHz bright leads had
# 3.4 dB too little above 8 kHz, to 10 kHz 3.0, to 12 kHz 2.7; beyond that it is no more.
TONES_HZ = 12000.0


def vocoder_config(fmt: MelFormat) -> VocoderConfig:
    """Likewise the vocoder."""
    return VocoderConfig(
        fmt.sample_rate_hz,
        fmt.hop_samples,
        fmt.mel_bins,
        fmt.low_hz,
        fmt.high_hz,
        log_floor=fmt.log_floor,
        mel_fft_size=fmt.fft_size,
        oscillators=fmt.mel_bins if fmt.high_hz <= TONES_HZ else int(np.searchsorted(centres_hz(fmt), TONES_HZ)) // 8 * 8,
    )


def train(
    run: Path,
    stages: Sequence[str],
    songs: Sequence[Path],
    *,
    minutes: float,
    format_name: str | None = None,
    start: Path | None = None,
    pieces: int = 200,
    batch: int | None = None,
    adversarial_from: float = 0.45,
    device: str = "cpu",
    soundfonts: Sequence[str] = ("fluid",),
) -> Path:
    """Train ``stages`` for ``minutes`` in all, resuming what ``run`` holds, then export the checkpoint.

    Args:
        format_name: of the mel: one of ``FORMATS``; default: that of ``start``, else full-band.
        songs: MIDI files; empty: generated music only.
        start: a checkpoint whose weights the stages begin with, as far as their shapes are the same. If it has the same format it
            also gives the parts that ``run`` has not trained.
        pieces: how many rendered half minutes are held in memory.
        batch: examples per step; default: what two cores handle (4; 5 for the vocoder; 12 for the prior, and single notes).
        adversarial_from: share of the vocoder's time after which its discriminators take part (1: never).

    Returns:
        The checkpoint's folder, not there yet while a part of it has been trained nowhere.

    Raises:
        UsageError: a stage needs the note prior or, to straighten it, the decoder, and there is none.
    """
    started = None if start is None else read_config(start / INDEX, MelFormat, "mel_format")
    fmt = FORMATS[format_name] if format_name else started or FORMATS["full-band"]
    donor = start if started == fmt else None
    plan = _Plan(run, fmt, start, donor, pieces, batch, adversarial_from, device, soundfonts)
    wanted = [stage for stage in STAGES if stage in stages]
    with ExitStack() as banks:
        bank: PieceBank | None = None
        for stage in wanted:
            budget = minutes * STAGES[stage] / sum(STAGES[s] for s in wanted)
            if stage == "colours":
                _train_colours(plan, budget)
                continue
            if bank is None:
                log.info("rendering %d pieces", pieces)
                bank = banks.enter_context(PieceBank(songs, fmt.sample_rate_hz, pieces=pieces, soundfonts=soundfonts))
            _TRAINERS[stage](plan, bank, budget)
    sources = {part: next((run / s for s in stages if (run / s / STATE).exists()), donor) for part, stages in MADE_BY.items()}
    if all(sources.values()):
        export(run / CHECKPOINT, fmt, {k: v for k, v in sources.items() if v is not None}, "builtin")
    return run / CHECKPOINT


class _Plan(NamedTuple):
    """What all stages of a run go by: the arguments of :func:`train`."""

    run: Path
    fmt: MelFormat
    start: Path | None
    donor: Path | None  # ``start``, if it has the same format
    pieces: int
    batch: int | None
    adversarial_from: float
    device: str
    soundfonts: Sequence[str]

    @property
    def prior(self) -> NotePrior:
        """The note prior that the other stages build upon."""
        return _prior(self.run, self.donor, self.fmt)


def _train_colours(plan: _Plan, minutes: float) -> None:
    out, workers = plan.run / "colours", torch.get_num_threads()
    fit_colours(out, plan.prior, plan.fmt, plan.soundfonts[0], minutes=minutes, workers=workers)


def _train_prior(plan: _Plan, bank: PieceBank, minutes: float) -> None:
    fmt, fonts = plan.fmt, plan.soundfonts
    shutil.rmtree(plan.run / "colours", ignore_errors=True)  # those of the prior as it was
    with PieceBank((), fmt.sample_rate_hz, 2 * plan.pieces, soundfonts=fonts, compose=solo_piece, rest_s=0.3) as solos:
        out, config, batch = plan.run / "prior", prior_config(fmt), plan.batch or 12
        train_prior(out, bank, solos, fmt, config, plan.start, minutes=minutes, batch=batch, device=plan.device)


def _train_decoder(plan: _Plan, bank: PieceBank, minutes: float, reflow: bool = False) -> None:
    train_decoder(
        plan.run / ("reflow" if reflow else "decoder"),
        bank,
        plan.fmt,
        plan.prior,
        CODEC,
        encoder_config(plan.fmt),
        decoder_config(plan.fmt),
        _teacher(plan.run, plan.donor) if reflow else plan.start,
        minutes=minutes,
        batch=plan.batch or 4,
        device=plan.device,
        reflow_steps=REFLOW_STEPS if reflow else None,
    )


def _train_vocoder(plan: _Plan, bank: PieceBank, minutes: float) -> None:
    train_vocoder(
        plan.run / "vocoder",
        bank,
        plan.fmt,
        vocoder_config(plan.fmt),
        PlayedPrior(plan.prior),
        plan.start,
        minutes=minutes,
        batch=plan.batch or 5,
        adversarial_from=plan.adversarial_from,
        device=plan.device,
    )


_TRAINERS: dict[str, Callable[[_Plan, PieceBank, float], None]] = {
    "prior": _train_prior,
    "decoder": _train_decoder,
    "reflow": partial(_train_decoder, reflow=True),
    "vocoder": _train_vocoder,
}


def _prior(run: Path, donor: Path | None, fmt: MelFormat) -> NotePrior:
    """The note prior that the other stages build upon."""
    for stage in MADE_BY["prior"]:
        trained = run / stage / STATE
        if trained.exists():
            prior = NotePrior(prior_config(fmt))
            prior.load_state_dict(read_state(trained)["average"])
            return prior.eval().requires_grad_(False)
    if donor is None:
        raise _missing("note prior", "prior", run)
    config = read_config(donor / PRIOR / CONFIG, PriorConfig)
    return load_weights(donor / PRIOR, lambda: NotePrior(config))


def _teacher(run: Path, donor: Path | None) -> Path:
    """Where the decoder lies that the reflow stage learns from: as it was when that stage began."""
    folder = run / "reflow" / "teacher"
    if not (folder / DECODER).exists():
        source = run / "decoder" if (run / "decoder" / STATE).exists() else donor
        if source is None:
            raise _missing("decoder", "decoder", run)
        export_part(folder, "decoder", source)
    return folder


def _missing(what: str, stage: str, run: Path) -> UsageError:
    return UsageError(f"no {what} in {run}: train it first (stage {stage}), or name a checkpoint of this mel format that has one (--start)")
