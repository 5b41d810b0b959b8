"""The stages that make the built-in instrument: note prior, its colours, decoder, reflow, vocoder; and the checkpoint of all.

A run is a folder with one resumable run for each stage and the exported checkpoint. A part that the folder does not hold is
taken from the checkpoint that the run starts from, so each can be trained further by itself.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from specdiffd.base.errors import UsageError
from specdiffd.base.formats import FORMATS, MelFormat
from specdiffd.instruments.checkpoint import load_weights
from specdiffd.instruments.layout import CONFIG, DECODER, INDEX, PRIOR, read_config
from specdiffd.prior.config import PriorConfig
from specdiffd.prior.network import NotePrior
from specdiffd.prior.playing import PlayedPrior
from specdiffd.reference.pieces import solo_piece
from specdiffd.train.colours import fit_colours
from specdiffd.train.configs import CODEC, decoder_config, encoder_config, prior_config, vocoder_config
from specdiffd.train.data import PieceBank
from specdiffd.train.decoder import train_decoder
from specdiffd.train.export import export, export_part
from specdiffd.train.loop import STATE, read_state
from specdiffd.train.prior import train_prior
from specdiffd.train.vocoder import train_vocoder

log = logging.getLogger(__name__)
# Stages in order and the share of the minutes that each takes; colours need ten on two cores.
STAGES = {"prior": 0.2, "colours": 0.05, "decoder": 0.25, "reflow": 0.2, "vocoder": 0.3}
USUAL = ("prior", "colours", "decoder", "vocoder")  # reflow is worth its time only if eight steps sound better than one
MADE_BY = {"prior": ("colours", "prior"), "decoder": ("reflow", "decoder"), "vocoder": ("vocoder",)}  # the last stage of each part first
REFLOW_STEPS = 8  # of the teacher
CHECKPOINT = "checkpoint"


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
    """Train ``stages`` for ``minutes`` in all, resuming what ``run`` holds. Returns the checkpoint's folder, once there are all its parts.

    Args:
        songs: MIDI files; empty: generated music only.
        format_name: of the mel: one of ``FORMATS``; default: that of ``start``, else full-band.
        start: a checkpoint whose weights the stages begin with, as far as their shapes are the same. If it has the same format it
            also gives the parts that ``run`` has not trained.
        pieces: how many rendered half minutes are held in memory.
        batch: examples per step; default: what two cores handle (4; 5 for the vocoder; 12 for the prior, and single notes).
        adversarial_from: share of the vocoder's time after which its discriminators take part (1: never).

    Raises:
        UsageError: a stage needs the note prior, or reflow the decoder, and there is none.
    """
    start_format = None if start is None else read_config(start / INDEX, MelFormat, "mel_format")
    fmt = FORMATS[format_name] if format_name else start_format or FORMATS["full-band"]
    donor = start if start_format == fmt else None
    plan = _Plan(run, fmt, start, donor, pieces, batch, adversarial_from, device, soundfonts)
    _train_stages(plan, [stage for stage in STAGES if stage in stages], songs, minutes)
    sources = {part: next((run / s for s in made_by if (run / s / STATE).exists()), donor) for part, made_by in MADE_BY.items()}
    if all(sources.values()):
        export(run / CHECKPOINT, fmt, {k: v for k, v in sources.items() if v is not None}, "builtin")
    return run / CHECKPOINT


class _Plan(NamedTuple):
    """What :func:`train` was asked for, for all stages."""

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
        """The note prior, trained: decoder and vocoder build upon it."""
        return _prior(self.run, self.donor, self.fmt)


def _train_stages(plan: _Plan, stages: Sequence[str], songs: Sequence[Path], minutes: float) -> None:
    """Train one stage after the other; pieces are rendered when the first stage needs them."""
    shares = sum(STAGES[stage] for stage in stages)
    with ExitStack() as banks:
        bank: PieceBank | None = None
        for stage in stages:
            budget = minutes * STAGES[stage] / shares
            if stage == "colours":
                _train_colours(plan, budget)
                continue
            if bank is None:
                log.info("rendering %d pieces", plan.pieces)
                bank = banks.enter_context(PieceBank(songs, plan.fmt.sample_rate_hz, plan.pieces, soundfonts=plan.soundfonts))
            _TRAINERS[stage](plan, bank, budget)


def _train_colours(plan: _Plan, minutes: float) -> None:
    out, workers = plan.run / "colours", torch.get_num_threads()
    fit_colours(out, plan.prior, plan.fmt, plan.soundfonts[0], minutes=minutes, workers=workers)


def _train_prior(plan: _Plan, bank: PieceBank, minutes: float) -> None:
    fmt, fonts = plan.fmt, plan.soundfonts
    shutil.rmtree(plan.run / "colours", ignore_errors=True)  # they fit the prior as it was before
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
    """The note prior as the last of its stages made it, else the donor's."""
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
    """The folder of the decoder that the reflow stage learns from. It is a copy from when that stage began."""
    folder = run / "reflow" / "teacher"
    if not (folder / DECODER).exists():
        source = run / "decoder" if (run / "decoder" / STATE).exists() else donor
        if source is None:
            raise _missing("decoder", "decoder", run)
        export_part(folder, "decoder", source)
    return folder


def _missing(what: str, stage: str, run: Path) -> UsageError:
    return UsageError(f"no {what} in {run}: train it first (stage {stage}), or name a checkpoint of this mel format that has one (--start)")
