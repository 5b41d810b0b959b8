"""A vocoder from an ONNX file, as published checkpoints bring one: log mel (B, T, mel) in, audio (B, hop * T) out.

The file does not say how many frames each hop of audio depends on. So this is measured when the file is loaded: one frame is changed, and
the hops that change are counted. With that many frames around it, a stretch comes out as it does within the whole song.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from specdiffd.base.errors import CheckpointError
from specdiffd.base.formats import MelFormat

INPUT = "input_features"
PROBE_FRAMES = (32, 128, 512)  # lengths to measure with; a hop that depends on more than half of the last cannot be streamed
PROBE_NEPERS = (-3.0, 3.0)  # changes of the probed frame: a rectifier may hide one of them
LEAST_CHANGE = 1e-6  # of the largest: smaller ones are rounding, and would make the receptive field look longer
HISTORY_FRAMES = 64  # how far the stream can go back: a revision that begins earlier fails


class OnnxState(NamedTuple):
    """The frames that later hops depend on, newest last."""

    mel: Tensor  # (B, n, mel) natural log
    waiting: int  # newest frames without audio yet, at most lookahead_frames
    silent: int  # hops of silence still to come before the first frame's hop
    frame: int  # absolute number of the next hop to come out


class OnnxVocoder:
    """Streams log mel through an ONNX file, on the CPU.

    Args:
        path: the file.
        fmt: of the mel that it takes and the audio that it gives.

    Attributes:
        past_frames, lookahead_frames: how many frames before and after its frame a hop of audio depends on.

    Raises:
        CheckpointError: the file cannot be read, has another signature, or cannot be streamed.
    """

    def __init__(self, path: Path, fmt: MelFormat) -> None:
        self._path, self.format = path, fmt
        self._session = _open(path)
        inputs = self._session.get_inputs()
        if [i.name for i in inputs] != [INPUT]:
            raise CheckpointError(f"{path}: inputs are {[i.name for i in inputs]}, expected [{INPUT!r}] of shape (B, T, {fmt.mel_bins})")
        self.past_frames, self.lookahead_frames = self._measure()

    def _run(self, mel: Tensor) -> Tensor:
        """All of ``mel`` (B, T, mel) at once: (B, T * hop)."""
        try:
            (audio,) = self._session.run(None, {INPUT: mel.detach().cpu().float().numpy()})
        except Exception as error:
            raise CheckpointError(f"{self._path}: {str(error).splitlines()[0]}") from error
        expected = (mel.shape[0], mel.shape[1] * self.format.hop_samples)
        audio = np.asarray(audio, np.float32)
        if audio.size != expected[0] * expected[1]:
            raise CheckpointError(f"{self._path}: {mel.shape[1]} frames give audio of shape {audio.shape}, expected {expected}")
        return torch.from_numpy(audio.reshape(expected))

    def _measure(self) -> tuple[int, int]:
        """How many frames before and after its frame a hop of audio depends on."""
        generator = torch.Generator().manual_seed(0)
        for frames in PROBE_FRAMES:
            low, middle = self.format.log_floor, frames // 2
            mel = low + (self.format.log_ceiling - low) * torch.rand(1, frames, self.format.mel_bins, generator=generator)
            hops = torch.nonzero(self._changed_hops(mel, middle)).flatten()
            if len(hops) == 0:
                raise CheckpointError(f"{self._path}: its audio does not depend on its input")
            first, last = int(hops[0]), int(hops[-1])
            if first > 0 and last < frames - 1:
                return last - middle, middle - first
        raise CheckpointError(f"{self._path}: a hop of audio depends on more than {PROBE_FRAMES[-1] // 2} frames, it cannot be streamed")

    def _changed_hops(self, mel: Tensor, frame: int) -> Tensor:
        """Which hops (T,) of the audio of ``mel`` (1, T, mel) change with one of its frames."""
        changed = torch.zeros(mel.shape[1], dtype=torch.bool)
        audio = self._run(mel)
        for nepers in PROBE_NEPERS:
            probe = mel.clone()
            probe[:, frame] += nepers
            difference = (self._run(probe) - audio).abs().unflatten(1, (mel.shape[1], -1)).amax((0, 2))
            changed |= difference > LEAST_CHANGE * difference.max()
        return changed

    def init_state(self, batch: int = 1, frame: int = 0) -> OnnxState:
        """Nothing in ``batch`` streams before absolute frame ``frame``."""
        return OnnxState(torch.zeros(batch, 0, self.format.mel_bins), 0, self.lookahead_frames, frame - self.lookahead_frames)

    def step(self, mel: Tensor, state: OnnxState, guide: Tensor | None = None) -> tuple[Tensor, OnnxState]:
        """Next frames in, as many hops out, ``lookahead_frames`` late; silence at first.

        Args:
            mel: (B, T, mel), natural log.
            state: from :meth:`init_state` or an earlier step.
            guide: ignored: the file takes a mel only.

        Returns:
            audio (B, T * hop), and the next state.

        Raises:
            CheckpointError: the file fails, or gives audio of another length.
        """
        known = torch.cat((state.mel, mel.cpu().float()), 1)
        silent = min(state.silent, mel.shape[1])
        hops = mel.shape[1] - silent
        waiting = state.waiting + silent
        audio = known.new_zeros(len(known), silent * self.format.hop_samples)
        if hops:
            audio = torch.cat((audio, self._hops(known, known.shape[1] - waiting - hops, hops)), 1)
        keep = self.past_frames + self.lookahead_frames + HISTORY_FRAMES
        return audio, OnnxState(known[:, -keep:], waiting, state.silent - silent, state.frame + mel.shape[1])

    def finish(self, state: OnnxState) -> Tensor:
        """The rest of the audio (B, waiting * hop), when no more frames come."""
        return self._hops(state.mel, state.mel.shape[1] - state.waiting, state.waiting)

    def _hops(self, mel: Tensor, first: int, count: int) -> Tensor:
        """Audio (B, count * hop) of the hops from ``first`` on, computed from these frames of ``mel`` and those that they depend on."""
        before = min(first, self.past_frames)
        hop = self.format.hop_samples
        audio = self._run(mel[:, first - before : first + count + self.lookahead_frames])
        return audio[:, before * hop : (before + count) * hop]

    def rewind(self, state: OnnxState, frames: int) -> OnnxState:
        """The state as it was ``frames`` earlier.

        Raises:
            ValueError: the history does not reach that far.
        """
        if not frames:
            return state
        left = state.mel.shape[1] - frames
        if frames > HISTORY_FRAMES or left < 0:
            raise ValueError(f"cannot go back {frames} frames, the history holds {min(HISTORY_FRAMES, state.mel.shape[1])}")
        waiting = min(self.lookahead_frames, left)
        return OnnxState(state.mel[:, :left], waiting, self.lookahead_frames - waiting, state.frame - frames)


def _open(path: Path) -> Any:
    """An onnxruntime session."""
    try:
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(f"{path} needs onnxruntime ({error}): pip install 'specdiffd[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        raise CheckpointError(f"{path} is damaged or no ONNX model: {str(error).splitlines()[0]}") from error
