"""Fits the note prior's colours: for each key of each program, what its network is wrong about in single notes.

By least absolute differences in closed form, cell by cell: rendering a note takes no longer than a step of training with it would, and
four notes say of a cell what a hundred steps would.
"""

from __future__ import annotations

import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor

from specdiffd.audio.mel import log_mel
from specdiffd.events import DRUM_CHANNEL, PROGRAM, Event
from specdiffd.formats import MelFormat
from specdiffd.midi.score import Score
from specdiffd.model.note_features import note_features
from specdiffd.model.prior import COLOURED, DRUM_PROGRAM, NotePrior, colour_shares
from specdiffd.train.data import RENDER_RATE_HZ
from specdiffd.train.fluid import FluidRenderer
from specdiffd.train.loop import STATE
from specdiffd.train.pieces import KIT, note
from specdiffd.train.spectrogram import audible, frame_times_s

log = logging.getLogger(__name__)
# Notes of a cell: onset, how long they are held, velocity. Onsets lie in different places between frames.
NOTES = ((0.100, 2.6, 45), (0.105, 0.25, 75), (0.110, 1.2, 100), (0.115, 0.6, 120))
RELEASED_S = 0.5  # judged after a note's end
MOST = 4.0  # nepers of one colour
ROUNDS = 4  # of weighted least squares
LEAST_ERROR = 0.05  # nepers: smaller ones weigh no more than this
TOWARDS_ZERO = 1.0  # so many errors of a neper: what a cell shows too little of stays as it is
NEAR_FLOOR = 0.3  # nepers above it
AT_A_TIME = 8  # keys


def fit_colours(out: Path, prior: NotePrior, fmt: MelFormat, soundfont: str, workers: int) -> None:
    """Add to the colours of ``prior`` what brings single notes nearest to their renderings; to a run's state in ``out``.

    Args:
        workers: processes, of one thread each.
    """
    rows = prior.colours.weight.detach().view(DRUM_PROGRAM + 1, len(COLOURED), -1)
    programs = range(DRUM_PROGRAM + 1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _set_up, (prior, fmt, soundfont)) as pool:
        for program, (colours, before, after) in zip(programs, pool.map(_fit_program, programs), strict=True):
            keys = _keys(program)
            rows[program, keys.start - COLOURED.start : keys.stop - COLOURED.start] += colours
            log.info("program %d: %.3f nepers, with colours %.3f", program, before, after)
    weights = prior.state_dict()
    out.mkdir(parents=True, exist_ok=True)
    torch.save({"config": asdict(prior.config), "average": weights}, out / STATE)


class _Worker:
    """What each process holds."""

    prior: NotePrior
    fmt: MelFormat
    renderer: FluidRenderer


def _set_up(prior: NotePrior, fmt: MelFormat, soundfont: str) -> None:
    torch.set_num_threads(1)
    _Worker.prior, _Worker.fmt, _Worker.renderer = prior, fmt, FluidRenderer(soundfont, RENDER_RATE_HZ)


@torch.inference_mode()
def _fit_program(program: int) -> tuple[Tensor, float, float]:
    """Colours (keys, J * mel) to be added, and the mean error in nepers without and with them."""
    keys = _keys(program)
    found, errors = [], []
    for first in range(keys.start, keys.stop, AT_A_TIME):
        some = range(first, min(first + AT_A_TIME, keys.stop))
        heard = [rendered(_Worker.renderer, _Worker.fmt, _Worker.prior, program, key) for key in some]
        for cell in heard:
            colours, before, after = fit_cell(*cell, _Worker.fmt.log_floor)
            found.append(colours.flatten())
            errors.append((before, after))
    before, after = np.mean(errors, 0)
    return torch.stack(found), float(before), float(after)


def _keys(program: int) -> range:
    return KIT if program == DRUM_PROGRAM else COLOURED


def rendered(renderer: FluidRenderer, fmt: MelFormat, prior: NotePrior, program: int, key: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (n) of a cell's notes: log mel (n, mel), log of the power that the prior gives them, without a floor, and ages (n,)."""
    channel = DRUM_CHANNEL if program == DRUM_PROGRAM else 0
    targets, predicted, ages = [], [], []
    for onset_s, held_s, velocity in NOTES:
        frames = int((onset_s + held_s + RELEASED_S) / fmt.frame_s)
        events = sorted([Event(0.0, PROGRAM | channel, program % DRUM_PROGRAM), *note(channel, onset_s, held_s, key, velocity)])
        audio = soxr.resample(renderer.render(events, (frames + 3) * fmt.frame_s), RENDER_RATE_HZ, fmt.sample_rate_hz, quality="HQ")
        features = note_features(
            Score().extend(events).performance, frame_times_s(fmt, 0, frames), prior.config.window_s, prior.config.ring_s
        )
        notes = prior.contributions(features)
        power = torch.einsum("nrf,nrm->fm", notes.weights, notes.shapes)
        there = features.active[0]
        targets.append(log_mel(torch.from_numpy(audio), fmt)[:frames][there])
        predicted.append(0.5 * torch.log(power + 1e-30)[there])
        ages.append(features.age_s[0][there])
    return torch.cat(targets), torch.cat(predicted), torch.cat(ages)


def fit_cell(target: Tensor, predicted: Tensor, age_s: Tensor, log_floor: float) -> tuple[Tensor, float, float]:
    """Colours (J, mel) of least absolute error (iteratively reweighted least squares), and the error before and after.

    Args:
        target, predicted: (n, mel), see :func:`rendered`.
        age_s: (n,).
    """
    floor = torch.tensor(log_floor)
    basis = colour_shares(age_s)  # (n, J)
    error = (torch.maximum(target, floor) - torch.maximum(predicted, floor)).clamp(-MOST, MOST)
    # Where both are silent nothing is said of how much.
    weight = audible(torch.maximum(target, predicted)) * (torch.maximum(target, predicted) > log_floor + NEAR_FLOOR)
    error = torch.where(target > log_floor + NEAR_FLOOR, (target - predicted).clamp(-MOST, MOST), error)
    of_bin, towards = weight.clone(), TOWARDS_ZERO * torch.eye(basis.shape[1])
    for _ in range(ROUNDS):
        normal = torch.einsum("nm,nj,nk->mjk", of_bin, basis, basis) + towards
        right = torch.einsum("nm,nj,nm->mj", of_bin, basis, error)
        colours = torch.linalg.solve(normal, right).T  # (J, mel)
        of_bin = weight / (error - basis @ colours).abs().clamp_min(LEAST_ERROR)
    colours = colours.clamp(-MOST, MOST)
    heard = [(torch.maximum(x, floor) - torch.maximum(target, floor)).abs().mean() for x in (predicted, predicted + basis @ colours)]
    return colours, float(heard[0]), float(heard[1])
