"""What every training run shares: time budget, averaged weights, resumable checkpoints, a log of the losses."""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from specdiffd.backends.precision import bfloat16_is_faster
from specdiffd.base.errors import Interrupted, SpecdiffdError

log = logging.getLogger(__name__)
SAVE_EVERY_S = 120.0
LOG_EVERY_STEPS = 50
STATE = "state.pt"
AVERAGE_DECAY = 0.999


class Run:
    """Iterates over steps until the minutes are used; saves on the way, at the end, and on SIGTERM or SIGINT.

    Each step's learning rates are the optimizers' own times the decay.

    Args:
        out: directory for ``state.pt`` (everything needed to go on) and ``log.jsonl``.
        model: the network that is trained; its exponential moving average is what gets exported.
        others: optimizers and helper networks by name.
        minutes: budget of the whole run, over all its sessions. A larger one on resuming continues it.
        config: stored beside the weights.

    Raises:
        Interrupted: by the signal, after the state has been saved.
    """

    def __init__(self, out: Path, model: nn.Module, others: Mapping[str, Any], minutes: float, config: Mapping[str, Any]) -> None:
        self._path, self._model, self._others = out / STATE, model, dict(others)
        self._budget_s, self._config = minutes * 60, dict(config)
        self._log_path = out / "log.jsonl"
        self.step, self._used_s = 0, 0.0
        self._sums: dict[str, float] = {}
        self._sum_steps, self._stop = 0, False
        out.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._load()
        else:
            self.average = {
                k: v.detach().clone() if v.dtype == torch.uint8 else v.detach().clone().float() for k, v in model.state_dict().items()
            }

    @property
    def progress(self) -> float:
        """Share of the budget used, 0 to 1."""
        return min(1.0, self._used_s / self._budget_s)

    @property
    def decay(self) -> float:
        """Learning rate factor: a short warm-up, then a half cosine down to 2 %."""
        warm = min(1.0, (self.step + 1) / 200)
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))

    def __iter__(self) -> Iterator[int]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        saved = time.monotonic()
        while self.progress < 1.0 and not self._stop:
            started = time.monotonic()
            for thing in self._others.values():
                if isinstance(thing, torch.optim.Optimizer):
                    for group in thing.param_groups:
                        group["lr"] = thing.defaults["lr"] * self.decay
            yield self.step
            self.step += 1
            self._update_average()
            # A stopped process (SIGSTOP) does not use up its budget.
            self._used_s += min(time.monotonic() - started, 30.0)
            if time.monotonic() - saved > SAVE_EVERY_S:
                self.save()
                saved = time.monotonic()
        self.save()
        if self._stop:
            raise Interrupted(
                f"stopped at step {self.step}, {self._used_s / 60:.1f} of {self._budget_s / 60:.0f} minutes; run again to go on"
            )

    def note(self, losses: Mapping[str, float]) -> None:
        """Add a step's losses to the log."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._sum_steps += 1
        if self._sum_steps == LOG_EVERY_STEPS:
            means = {name: round(value / self._sum_steps, 4) for name, value in self._sums.items()}
            row = {"step": self.step + 1, "minutes": round(self._used_s / 60, 2), **means}
            with self._log_path.open("a") as f:
                f.write(json.dumps(row) + "\n")
            log.info("%s", row)
            self._sums, self._sum_steps = {}, 0

    def save(self) -> None:
        """Write ``state.pt``, see :func:`write_state`."""
        state = {
            "step": self.step,
            "used_s": self._used_s,
            "config": self._config,
            "model": self._model.state_dict(),
            "average": self.average,
            "others": {name: thing.state_dict() for name, thing in self._others.items()},
        }
        write_state(self._path, state)

    def _load(self) -> None:
        state = read_state(self._path)
        self.step, self._used_s = state["step"], state["used_s"]
        self.average = {name: state["average"][name].to(own.device) for name, own in self._model.state_dict().items()}
        self._model.load_state_dict(state["model"], strict=True)
        for name, thing in self._others.items():
            if name in state["others"]:
                thing.load_state_dict(state["others"][name])
        log.info("resumed at step %d, %.1f minutes used", self.step, self._used_s / 60)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(AVERAGE_DECAY, (self.step + 1) / (self.step + 10))
        for key, value in self._model.state_dict().items():
            average: Tensor = self.average[key]
            if average.is_floating_point():
                average.lerp_(value.to(average), 1 - decay)

    def _on_signal(self, number: int, frame: object) -> None:
        self._stop = True


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Save a run such that a crash at any moment leaves a whole file.

    Raises:
        SpecdiffdError: there is no room for it; the one before is still there.
    """
    partial = path.with_suffix(".partial")
    try:
        torch.save(state, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # the second of its own writer, where the disk is full
        partial.unlink(missing_ok=True)
        raise SpecdiffdError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def read_state(path: Path) -> dict[str, Any]:
    """What a run has saved, on the CPU: it may have been trained on a device that is not here."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def reduced_precision(device: str | torch.device) -> torch.autocast:
    """bfloat16 where matrix products allow it and the device (``cuda:1``, say) is faster with it."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16_is_faster(str(device)))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, most: float) -> None:
    """One step down the gradient of ``loss``, whose norm is clipped to ``most``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], most)
    optimizer.step()
