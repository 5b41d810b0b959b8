"""Fits the note prior's colours, dynamics, details and unrest: for each key of each program, what its networks are wrong about in single notes.

By least absolute differences, key by key: to render eight notes takes no longer than to train with them once, and they say of a key what
hundreds of steps would.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
import torch
from torch import Tensor

from specdiffd.base.errors import Interrupted
from specdiffd.base.events import Event
from specdiffd.base.formats import MelFormat
from specdiffd.base.messages import DRUM_CHANNEL, PROGRAM
from specdiffd.dsp.mel import log_mel
from specdiffd.midi.score import Score
from specdiffd.prior.config import BAND, COLOUR_AGES_S, COLOURED, DETAIL_AGES, DETAIL_AGES_S, DETAIL_BINS, DRUM_PROGRAM, DYNAMICS, PATTERNS
from specdiffd.prior.gains import detail_gains, interpolation_place, interpolation_weights
from specdiffd.prior.mixing import summed
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import note_features
from specdiffd.reference.fluid import FluidRenderer
from specdiffd.reference.parts import KIT, note
from specdiffd.train.data import RENDER_RATE_HZ
from specdiffd.train.loop import SAVE_EVERY_S, STATE, read_state, write_state
from specdiffd.train.spectrogram import LEAST_ROUGHNESS, audible, deviation, steady

log = logging.getLogger(__name__)
# Velocities of a key's notes and how long they are held; their onsets lie in different places between frames.
NOTES = ((20, 0.25), (35, 1.2), (50, 0.6), (65, 2.6), (80, 0.25), (92, 0.9), (106, 0.5), (122, 1.6))
FIRST_S = 0.1
PROGRAMS = DRUM_PROGRAM + 1  # the kit is the last
RELEASED_S = 0.5  # judged after a note's end
MOST = 4.0  # nepers of one colour
ROUNDS = 6  # of weighted least squares
TURNS = 3  # of colours and dynamics
LEAST_ERROR = 0.05  # nepers: smaller ones weigh no more than this
# So many errors of a neper: what a key's notes show too little of stays as it is, or becomes what those beside it are.
TOWARDS_ZERO, TOWARDS_EACH_OTHER = 1.0, 10.0
DETAILS_TOWARDS_ZERO, DETAILS_TOWARDS_EACH_OTHER = 0.1, 3.0
SAMPLED = (3, 2)  # patterns are learned from every third program, two keys of each
MEANS = 30  # rounds of k-means
NEAR_FLOOR = 0.3  # nepers above it
FEW = 20  # bins in frames: fewer say nothing of roughness
MOST_UNREST = 2.0


def fit_colours(out: Path, prior: NotePrior, fmt: MelFormat, soundfont: str, *, minutes: float, workers: int) -> None:
    """Add to the prior's tables what brings single notes nearest to their renderings, program by program until ``minutes`` are used.

    Args:
        out: folder of the run's state, which is gone on from if there is one.
        prior: what a new run begins with.
        workers: processes, of one thread each.

    Raises:
        Interrupted: by SIGTERM or SIGINT, after the state has been saved if there is one.
    """
    path = out / STATE
    done, used_s = 0, 0.0
    if path.exists():
        state = read_state(path)
        prior.load_state_dict(state["average"])
        done, used_s = state["programs"], state["used_s"]
    else:
        prior.details.zero_()
    out.mkdir(parents=True, exist_ok=True)
    tables = (prior.colours.weight, prior.dynamics.weight, prior.details, prior.unrest.weight)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    started = saved = time.monotonic()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _set_up, (prior, fmt, soundfont)) as pool:
        if not path.exists():
            details: list[Tensor] = []
            for sample in pool.map(_sample_details, [*range(0, DRUM_PROGRAM, SAMPLED[0]), DRUM_PROGRAM]):
                details.append(sample)
                if stop.is_set():
                    pool.shutdown(cancel_futures=True)
                    raise Interrupted(f"stopped after a sample of {len(details)} programs; run again to begin anew")
            prior.patterns.copy_(patterns_of(torch.cat(details)))
            log.info("patterns of %d programs", len(details))
        while done < PROGRAMS and used_s < 60 * minutes and not stop.is_set():
            some = range(done, min(done + workers, PROGRAMS))
            for program, (fits, before, after) in zip(some, pool.map(_fit_program, some, [prior.patterns] * len(some)), strict=True):
                keys = _keys(program)
                first = program * len(COLOURED) + keys.start - COLOURED.start
                for table, found in zip(tables, fits, strict=True):
                    table.detach()[first : first + len(keys)] += found
                log.info("program %d: %.3f nepers, now %.3f", program, before, after)
            done, used_s, started = some.stop, used_s + time.monotonic() - started, time.monotonic()
            if done == PROGRAMS or used_s >= 60 * minutes or stop.is_set() or time.monotonic() - saved > SAVE_EVERY_S:
                state = {"config": asdict(prior.config), "average": prior.state_dict(), "programs": done, "used_s": used_s}
                write_state(path, state)
                saved = time.monotonic()
    if stop.is_set():
        raise Interrupted(f"stopped after {done} of {PROGRAMS} programs; run again to go on")
    if done < PROGRAMS:
        log.warning("%d of %d programs have colours; run again with more minutes to go on", done, PROGRAMS)


class _Worker:
    """What each process holds."""

    prior: NotePrior
    fmt: MelFormat
    renderer: FluidRenderer


def _set_up(prior: NotePrior, fmt: MelFormat, soundfont: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    torch.set_num_threads(1)
    _Worker.prior, _Worker.fmt, _Worker.renderer = prior, fmt, FluidRenderer(soundfont, RENDER_RATE_HZ)


@torch.inference_mode()
def _fit_program(program: int, patterns: Tensor) -> tuple[list[Tensor], float, float]:
    """What is to be added to the tables, a row a key, and the mean error in nepers without and with it."""
    w = _Worker
    fits = [fit_key(heard(w.renderer, w.fmt, w.prior, program, key), w.fmt.log_floor, patterns) for key in _keys(program)]
    *tables, before, after = zip(*fits, strict=True)
    return [torch.stack(table).flatten(1) for table in tables], float(np.mean(before)), float(np.mean(after))


@torch.inference_mode()
def _sample_details(program: int) -> Tensor:
    """Details (n, DETAIL_AGES * DETAIL_BINS) of some keys of a program."""
    w, keys = _Worker, _keys(program)
    some = np.random.default_rng(program).choice(keys, SAMPLED[1], replace=False)
    notes = (heard(w.renderer, w.fmt, w.prior, program, int(key)) for key in some)
    return torch.cat([_cut(_details(n, w.fmt.log_floor, *_colours(n, w.fmt.log_floor))) for n in notes])


def _keys(program: int) -> range:
    return KIT if program == DRUM_PROGRAM else COLOURED


class Heard(NamedTuple):
    """Frames of single notes of a key."""

    target: Tensor  # (n, mel) log mel
    predicted: Tensor  # (n, mel) log of the root of the power that the prior gives, without a floor
    rough: Tensor  # (n, mel) how rough they are predicted to be
    age_s: Tensor  # (n,)
    velocity: Tensor  # (n,)


def heard(renderer: FluidRenderer, fmt: MelFormat, prior: NotePrior, program: int, key: int) -> Heard:
    """The frames of :data:`NOTES` in which they may be heard, played by a program or, DRUM_PROGRAM, the kit."""
    channel = DRUM_CHANNEL if program == DRUM_PROGRAM else 0
    parts = []
    for number, (velocity, held_s) in enumerate(NOTES):
        onset_s = FIRST_S + fmt.frame_s * number / len(NOTES)
        frames = int((onset_s + held_s + RELEASED_S) / fmt.frame_s)
        events = sorted([Event(0.0, PROGRAM | channel, program % DRUM_PROGRAM), *note(channel, onset_s, held_s, key, velocity)])
        audio = renderer.render(events, (frames + 3) * fmt.frame_s)
        audio = soxr.resample(audio, RENDER_RATE_HZ, fmt.sample_rate_hz, quality="HQ")
        score = Score().extend(events).performance
        features = note_features(score, fmt.starts_s(0, frames), prior.config.window_s, prior.config.ring_s)
        notes = prior.contributions(features)
        there = features.active[0]
        power = summed(notes.power, notes.frame, frames) + 1e-30
        rough = summed(notes.rough_power, notes.frame, frames) / power
        mels = log_mel(torch.from_numpy(audio), fmt)[:frames], 0.5 * torch.log(power), rough
        age_s = features.age_s[0][there]
        target, predicted, rough = (mel[there] for mel in mels)
        parts.append(Heard(target, predicted, rough, age_s, features.velocity.expand(len(target))))
    return Heard(*(torch.cat(x) for x in zip(*parts, strict=True)))


def fit_key(notes: Heard, log_floor: float, patterns: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, float, float]:
    """Colours (J, mel), dynamics (velocities, bands), codes of details and unrest (bands,), and the mean error in nepers without and with them."""
    colours, dynamics = _colours(notes, log_floor)
    details = _details(notes, log_floor, colours, dynamics)
    codes = torch.cdist(_cut(details), patterns).argmin(1).to(torch.uint8)
    details = detail_gains(patterns[codes.long()][None])[0]
    fitted = _changed(notes, colours, dynamics) + interpolation_weights(notes.age_s, DETAIL_AGES_S) @ details
    before, after = (float((x.clamp_min(log_floor) - notes.target).abs().mean()) for x in (notes.predicted, fitted))
    return colours, dynamics, codes, unrest(notes, fitted, log_floor), before, after


def _changed(notes: Heard, colours: Tensor, dynamics: Tensor) -> Tensor:
    """What is predicted with colours and dynamics."""
    louder = interpolation_weights(notes.velocity, DYNAMICS) @ dynamics.repeat_interleave(BAND, 1)
    return notes.predicted + interpolation_weights(notes.age_s, COLOUR_AGES_S) @ colours + louder


def _missing(notes: Heard, predicted: Tensor, log_floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Error of what is ``predicted``, its weight, and where less than it is as good."""
    silent = notes.target <= log_floor + NEAR_FLOOR
    error = (torch.where(silent, log_floor, notes.target) - predicted).clamp(-MOST, MOST)
    return error, audible(torch.maximum(notes.target, notes.predicted)), silent


def _colours(notes: Heard, log_floor: float) -> tuple[Tensor, Tensor]:
    ages, velocities = interpolation_weights(notes.age_s, COLOUR_AGES_S), interpolation_weights(notes.velocity, DYNAMICS)
    error, weight, silent = _missing(notes, notes.predicted, log_floor)
    dynamics = torch.zeros(velocities.shape[1], error.shape[1] // BAND)
    for _ in range(TURNS):
        colours = least_absolute(ages, error - velocities @ dynamics.repeat_interleave(BAND, 1), weight, silent).clamp(-MOST, MOST)
        dynamics = least_absolute(velocities.repeat(BAND, 1), *(_bins_of_bands(x) for x in (error - ages @ colours, weight, silent)))
    return colours, dynamics


def _details(notes: Heard, log_floor: float, colours: Tensor, dynamics: Tensor) -> Tensor:
    """Log gains (ages, mel) of what colours and dynamics leave."""
    return least_absolute_between(notes.age_s, DETAIL_AGES_S, *_missing(notes, _changed(notes, colours, dynamics), log_floor))


def _cut(details: Tensor) -> Tensor:
    """Gains (ages, mel) as what patterns stand for, in the order of their codes: (codes, DETAIL_AGES * DETAIL_BINS)."""
    return details.unflatten(0, (-1, DETAIL_AGES)).unflatten(2, (-1, DETAIL_BINS)).transpose(1, 2).flatten(0, 1).flatten(1)


def patterns_of(details: Tensor) -> Tensor:
    """The patterns (PATTERNS, n) nearest to details (N, n), by k-means (Lloyd 1982); the first are 0."""
    generator = torch.Generator().manual_seed(0)
    patterns = details[torch.randperm(len(details), generator=generator)[:PATTERNS]].clone()
    for _ in range(MEANS):
        patterns[0] = 0
        nearest = torch.cat([torch.cdist(some, patterns).argmin(1) for some in details.split(1 << 16)])
        count = torch.bincount(nearest, minlength=PATTERNS)
        means = torch.zeros_like(patterns).index_add_(0, nearest, details) / count.clamp_min(1)[:, None]
        patterns = torch.where(count[:, None] > 0, means, details[torch.randint(len(details), (PATTERNS,), generator=generator)])
    patterns[0] = 0
    return patterns


def unrest(notes: Heard, fitted: Tensor, log_floor: float) -> Tensor:
    """Log (bands,) of how much more changes from frame to frame than the predicted roughness says, by Laplace's likelihood."""
    change = deviation((fitted.clamp_min(log_floor) - notes.target)[None])[0]
    sounding = (notes.target[1:] > log_floor + NEAR_FLOOR) & (notes.target[:-1] > log_floor + NEAR_FLOOR)
    counted = steady(fitted[None])[0] * sounding * (notes.age_s.diff() > 0)[:, None]  # not from one note to the next
    changed, said, count = ((x * counted).unflatten(1, (-1, BAND)).sum((0, 2)) for x in (change, notes.rough[1:], torch.ones_like(change)))
    ratio = (changed + FEW * LEAST_ROUGHNESS) / (said + FEW * LEAST_ROUGHNESS)
    return torch.where(count > FEW, ratio.log().clamp(-MOST_UNREST, MOST_UNREST), 0.0)


def least_absolute(basis: Tensor, error: Tensor, weight: Tensor, at_most: Tensor) -> Tensor:
    """Factors (J, mel) of ``basis`` (n, J) of the least mean absolute distance to ``error`` (n, mel), by reweighted least squares.

    Args:
        at_most: (n, mel) bool: what is less than the error is as good.
    """
    steps = torch.eye(basis.shape[1]).diff(dim=0)
    usual = TOWARDS_ZERO * torch.eye(basis.shape[1]) + TOWARDS_EACH_OTHER * steps.T @ steps
    squares = (basis[:, :, None] * basis[:, None]).flatten(1)
    factors = torch.zeros(basis.shape[1], error.shape[1])
    for _ in range(ROUNDS):
        missing = error - basis @ factors
        now = torch.where(at_most & (missing >= 0), 0.0, weight / missing.abs().clamp_min(LEAST_ERROR))
        normal = (now.T @ squares).unflatten(1, usual.shape) + usual  # (mel, J, J)
        factors = torch.linalg.solve(normal, (now * error).T @ basis).T
    return factors


def least_absolute_between(x: Tensor, points: Sequence[float], error: Tensor, weight: Tensor, at_most: Tensor) -> Tensor:
    """Likewise, of linear interpolation between values at many ``points`` for places ``x`` (n,), where few factors meet: (J, mel)."""
    after, share = interpolation_place(x, points)
    share, count = share[:, None], len(points)

    def at_points(before: Tensor, behind: Tensor) -> Tensor:
        return summed(before, after - 1, count) + summed(behind, after, count)

    factors = torch.zeros(count, error.shape[1])
    ends = torch.ones(count, 1)
    ends[1:-1] = 2
    for _ in range(ROUNDS):
        missing = error - torch.lerp(factors[after - 1], factors[after], share)
        now = torch.where(at_most & (missing >= 0), 0.0, weight / missing.abs().clamp_min(LEAST_ERROR))
        own = at_points(now * (1 - share).square(), now * share.square()) + DETAILS_TOWARDS_ZERO + DETAILS_TOWARDS_EACH_OTHER * ends
        beside = summed(now * share * (1 - share), after, count)[1:] - DETAILS_TOWARDS_EACH_OTHER
        factors = _solve(own, beside, at_points(now * error * (1 - share), now * error * share))
    return factors


def _solve(own: Tensor, beside: Tensor, wanted: Tensor) -> Tensor:
    """Solve symmetric tridiagonal systems, a column each: diagonal (J, n), beside it (J - 1, n), right side (J, n)."""
    pivots, right = [own[0]], [wanted[0]]
    for k, off in enumerate(beside):
        ratio = off / pivots[-1]
        pivots.append(own[k + 1] - ratio * off)
        right.append(wanted[k + 1] - ratio * right[-1])
    found = [right[-1] / pivots[-1]]
    for k in reversed(range(len(beside))):
        found.append((right[k] - beside[k] * found[-1]) / pivots[k])
    return torch.stack(found[::-1])


def _bins_of_bands(x: Tensor) -> Tensor:
    """(n, mel) to (BAND * n, bands): the bins of a band below each other."""
    return x.unflatten(1, (-1, BAND)).permute(2, 0, 1).flatten(0, 1)
