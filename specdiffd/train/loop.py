"""What every training run shares: time budget, initial and averaged weights, resumable state, a log of the losses."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from specdiffd.backends.precision import bfloat16_is_faster
from specdiffd.base.errors import Interrupted, SpecdiffdError
from specdiffd.base.signals import stop_on_signals
from specdiffd.instruments.checkpoint import read_weights

log = logging.getLogger(__name__)
M = TypeVar("M", bound=nn.Module)
SAVE_EVERY_S = 120.0
LOG_EVERY_STEPS = 50
STATE = "state.pt"
AVERAGE_DECAY = 0.999  # a step, of the moving average of the weights
WARM_UP_STEPS = 200
LONGEST_STEP_S = 30.0  # counted: a process that is stopped (SIGSTOP) does not use up its budget


class Run:
    """Iterates over steps until the minutes are used; saves on the way, at the end, and on SIGTERM or SIGINT.

    In each step an optimizer's learning rate is the one that it was made with, times the decay.

    Args:
        out: folder for ``state.pt``, which holds all that is needed to go on, and ``log.jsonl``.
        model: the network that is trained; its exponential moving average is what gets exported.
        helpers: optimizers and other networks, by name; their state is kept too.
        minutes: budget of the whole run, over all its sessions. A finished run goes on if it is resumed with more.
        config: stored beside the weights.

    Raises:
        Interrupted: by the signal, after the state has been saved; raised by the iteration.
    """

    def __init__(self, out: Path, model: nn.Module, helpers: Mapping[str, Any], minutes: float, config: Mapping[str, Any]) -> None:
        self._path, self._model, self._helpers = out / STATE, model, dict(helpers)
        self._budget_s, self._config = minutes * 60, dict(config)
        self._log_path = out / "log.jsonl"
        self.step, self._used_s = 0, 0.0
        self._sums: dict[str, float] = {}
        self._sum_steps = 0
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
        warm_up = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        return warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))

    def __iter__(self) -> Iterator[int]:
        stop = stop_on_signals()
        saved = time.monotonic()
        while self.progress < 1.0 and not stop.is_set():
            started = time.monotonic()
            self._set_learning_rates()
            yield self.step
            self.step += 1
            self._update_average()
            self._used_s += min(time.monotonic() - started, LONGEST_STEP_S)
            if time.monotonic() - saved > SAVE_EVERY_S:
                self.save()
                saved = time.monotonic()
        self.save()
        if stop.is_set():
            raise Interrupted(
                f"stopped at step {self.step}, {self._used_s / 60:.1f} of {self._budget_s / 60:.0f} minutes; run again to go on"
            )

    def _set_learning_rates(self) -> None:
        for helper in self._helpers.values():
            if isinstance(helper, torch.optim.Optimizer):
                for group in helper.param_groups:
                    group["lr"] = helper.defaults["lr"] * self.decay

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
        """Write ``state.pt``.

        Raises:
            SpecdiffdError: there is no room for it.
        """
        state = {
            "step": self.step,
            "used_s": self._used_s,
            "config": self._config,
            "model": self._model.state_dict(),
            "average": self.average,
            "others": {name: helper.state_dict() for name, helper in self._helpers.items()},
        }
        write_state(self._path, state)

    def _load(self) -> None:
        state = read_state(self._path)
        self.step, self._used_s = state["step"], state["used_s"]
        self.average = {name: state["average"][name].to(value.device) for name, value in self._model.state_dict().items()}
        self._model.load_state_dict(state["model"], strict=True)
        for name, helper in self._helpers.items():
            if name in state["others"]:
                helper.load_state_dict(state["others"][name])
        log.info("resumed at step %d, %.1f minutes used", self.step, self._used_s / 60)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(AVERAGE_DECAY, (self.step + 1) / (self.step + 10))
        for key, value in self._model.state_dict().items():
            average: Tensor = self.average[key]
            if average.is_floating_point():
                average.lerp_(value.to(average), 1 - decay)


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Save a run. A crash at any moment leaves a whole file: this state or the one before.

    Raises:
        SpecdiffdError: there is no room for it; the state before is still there.
    """
    partial = path.with_suffix(".partial")
    try:
        torch.save(state, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError of torch's writer
        partial.unlink(missing_ok=True)
        raise SpecdiffdError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def read_state(path: Path) -> dict[str, Any]:
    """What a run has saved, on the CPU: the device that it was trained on may not exist here."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def reduced_precision(device: str | torch.device) -> torch.autocast:
    """A context in which matrix products are computed in bfloat16, if the device (``cuda:1``, say) is faster with it."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16_is_faster(str(device)))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, most: float) -> None:
    """One step down the gradient of ``loss``, whose norm is clipped to ``most``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], most)
    optimizer.step()


def begin(module: M, folder: Path | None) -> M:
    """``module`` with the weights of a checkpoint's component, those of the same name and shape; as it is without a ``folder``."""
    if folder is not None:
        initial, stored = module.state_dict(), read_weights(folder)
        fitting = {key: value for key, value in stored.items() if key in initial and value.shape == initial[key].shape}
        module.load_state_dict(initial | fitting)
        log.info("%s: %d of %d tensors begin with those of %s", type(module).__name__, len(fitting), len(initial), folder)
    return module
