"""Fits the gain tables of the note prior: for each key of each program, what its networks get wrong in single notes.

A key takes eight rendered notes and least absolute errors. That costs no more than one training step with the same notes, and improves the
key as much as hundreds of steps.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from specdiffd.base.errors import Interrupted
from specdiffd.base.formats import MelFormat
from specdiffd.base.signals import stop_on_signals
from specdiffd.prior.config import COLOURED, DRUM_PROGRAM
from specdiffd.prior.network import NotePrior
from specdiffd.reference.fluid import FluidRenderer
from specdiffd.reference.parts import KIT
from specdiffd.train.key_fit import fit_key, patterns_of, sample_details
from specdiffd.train.key_frames import key_frames
from specdiffd.train.loop import SAVE_EVERY_S, STATE, read_state, write_state

log = logging.getLogger(__name__)
PROGRAMS = DRUM_PROGRAM + 1  # the kit is the last
SAMPLED = (3, 2)  # patterns are learned from every third program, two keys of each


def fit_colours(out: Path, prior: NotePrior, fmt: MelFormat, soundfont: str, *, minutes: float, workers: int) -> None:
    """Add to the prior's tables what brings single notes nearest to their renderings, program by program until ``minutes`` are used.

    Args:
        out: folder of the run's state. If it holds one, the run is continued.
        prior: what a new run begins with; its tables are changed in place.
        workers: processes, of one thread each.

    Raises:
        Interrupted: by SIGTERM or SIGINT, after the state has been saved if there is one.
    """
    run = _Run(out / STATE, prior, minutes)
    out.mkdir(parents=True, exist_ok=True)
    stop = stop_on_signals()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _set_up, (prior, fmt, soundfont)) as pool:
        if run.is_new:
            _learn_patterns(pool, prior, stop)
        _fit_programs(pool, run, workers, stop)
    if stop.is_set():
        raise Interrupted(f"stopped after {run.programs} of {PROGRAMS} programs; run again to go on")
    if run.programs < PROGRAMS:
        log.warning("%d of %d programs have colours; run again with more minutes to go on", run.programs, PROGRAMS)


class _Run:
    """The state of a run: the prior's tables, how many programs are in them, and the time used."""

    def __init__(self, path: Path, prior: NotePrior, minutes: float) -> None:
        self._path, self._budget_s = path, 60 * minutes
        self.prior, self.programs, self._used_s = prior, 0, 0.0
        self.is_new = not path.exists()
        if self.is_new:
            prior.details.zero_()
        else:
            state = read_state(path)
            prior.load_state_dict(state["average"])
            self.programs, self._used_s = state["programs"], state["used_s"]
        self._counted = self._saved = time.monotonic()

    def is_over(self) -> bool:
        """Whether all programs are done or the time is used."""
        return self.programs >= PROGRAMS or self._used_s >= self._budget_s

    def save_is_due(self) -> bool:
        """Whether the last save was long ago."""
        return time.monotonic() - self._saved > SAVE_EVERY_S

    def add(self, fits: dict[int, _ProgramFit]) -> None:
        """Add the rows of the next programs to the tables, and count the time."""
        prior = self.prior
        tables = (prior.colours.weight, prior.dynamics.weight, prior.details, prior.unrest.weight)
        for program, fit in fits.items():
            keys = _keys(program)
            first = program * len(COLOURED) + keys.start - COLOURED.start
            for table, rows in zip(tables, fit.rows, strict=True):
                table.detach()[first : first + len(keys)] += rows
            log.info("program %d: %.3f nepers, now %.3f", program, fit.error_before, fit.error_after)
        now = time.monotonic()
        self.programs, self._used_s, self._counted = self.programs + len(fits), self._used_s + now - self._counted, now

    def save(self) -> None:
        """Write the state."""
        prior = self.prior
        state = {"config": asdict(prior.config), "average": prior.state_dict(), "programs": self.programs, "used_s": self._used_s}
        write_state(self._path, state)
        self._saved = time.monotonic()


def _learn_patterns(pool: ProcessPoolExecutor, prior: NotePrior, stop: threading.Event) -> None:
    """Set the patterns that details are made of, from a sample of the programs.

    Raises:
        Interrupted: ``stop`` was set.
    """
    details: list[Tensor] = []
    for sample in pool.map(_sample_program, [*range(0, DRUM_PROGRAM, SAMPLED[0]), DRUM_PROGRAM]):
        details.append(sample)
        if stop.is_set():
            pool.shutdown(cancel_futures=True)
            raise Interrupted(f"stopped after a sample of {len(details)} programs; run again to begin anew")
    prior.patterns.copy_(patterns_of(torch.cat(details)))
    log.info("patterns of %d programs", len(details))


def _fit_programs(pool: ProcessPoolExecutor, run: _Run, workers: int, stop: threading.Event) -> None:
    """Fit the programs that are not done yet, as many at a time as there are workers."""
    while not (run.is_over() or stop.is_set()):
        some = range(run.programs, min(run.programs + workers, PROGRAMS))
        run.add(dict(zip(some, pool.map(_fit_program, some, [run.prior.patterns] * len(some)), strict=True)))
        if run.is_over() or stop.is_set() or run.save_is_due():
            run.save()


class _Worker:
    """What each process holds."""

    prior: NotePrior
    fmt: MelFormat
    renderer: FluidRenderer


def _set_up(prior: NotePrior, fmt: MelFormat, soundfont: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    torch.set_num_threads(1)
    _Worker.prior, _Worker.fmt, _Worker.renderer = prior, fmt, FluidRenderer(soundfont)


class _ProgramFit(NamedTuple):
    """What is added to the tables for one program, and its mean error in nepers without and with it."""

    rows: list[Tensor]  # of each table, (keys, columns)
    error_before: float
    error_after: float


@torch.inference_mode()
def _fit_program(program: int, patterns: Tensor) -> _ProgramFit:
    """The fits of all keys of a program."""
    w = _Worker
    fits = [fit_key(key_frames(w.renderer, w.fmt, w.prior, program, key), w.fmt.log_floor, patterns) for key in _keys(program)]
    rows = [torch.stack(table) for table in zip(*(fit.rows for fit in fits), strict=True)]
    return _ProgramFit(rows, float(np.mean([fit.error_before for fit in fits])), float(np.mean([fit.error_after for fit in fits])))


@torch.inference_mode()
def _sample_program(program: int) -> Tensor:
    """Details (codes, DETAIL_AGES * DETAIL_BINS) of some keys of a program."""
    w = _Worker
    some = np.random.default_rng(program).choice(_keys(program), SAMPLED[1], replace=False)
    return torch.cat([sample_details(key_frames(w.renderer, w.fmt, w.prior, program, int(key)), w.fmt.log_floor) for key in some])


def _keys(program: int) -> range:
    return KIT if program == DRUM_PROGRAM else COLOURED
