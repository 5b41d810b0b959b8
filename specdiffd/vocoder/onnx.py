"""A vocoder from an ONNX file, as published checkpoints bring one: log mel (B, T, mel) in, audio (B, hop * T) out.

How many frames each hop of audio depends on is nowhere written down, so it is measured when the file is loaded: one
frame is changed, and what changes in the audio tells. With that many frames around it any stretch is vocoded as it is
within the whole song.
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
PROBE_FRAMES = (32, 128, 512)
HISTORY_FRAMES = 64


class OnnxState(NamedTuple):
    """The frames that hops still to come depend on, newest last."""

    mel: Tensor  # (B, n, mel): history and what is waiting
    waiting: int  # how many of the newest frames have not been heard: at most lookahead_frames
    silent: int  # frames of the lookahead that lie before the first one
    frame: int  # absolute number of the next hop to come out


class OnnxVocoder:
    """Streams through an ONNX file.

    Raises:
        CheckpointError: it cannot be read, has another signature, or cannot be streamed.
    """

    def __init__(self, path: Path, fmt: MelFormat) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise CheckpointError(f"{path} needs onnxruntime ({error}): pip install 'specdiffd[onnx]'") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._path, self.format = path, fmt
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class
            raise CheckpointError(f"{path} is damaged or no ONNX model: {str(error).splitlines()[0]}") from error
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
        wanted = (mel.shape[0], mel.shape[1] * self.format.hop_samples)
        audio = np.asarray(audio, np.float32)
        if audio.size != wanted[0] * wanted[1]:
            raise CheckpointError(f"{self._path}: {mel.shape[1]} frames give audio of shape {audio.shape}, expected {wanted}")
        return torch.from_numpy(audio.reshape(wanted))

    def _measure(self) -> tuple[int, int]:
        """How many frames before and after its own a hop of audio depends on."""
        generator = torch.Generator().manual_seed(0)
        for frames in PROBE_FRAMES:
            low, middle = self.format.log_floor, frames // 2
            mel = low + (self.format.log_ceiling - low) * torch.rand(1, frames, self.format.mel_bins, generator=generator)
            changed = torch.zeros(frames, dtype=torch.bool)
            plain = self._run(mel)
            for shift in (-3.0, 3.0):  # a rectifier may hide one of them
                other = mel.clone()
                other[:, middle] += shift
                difference = (self._run(other) - plain).abs().unflatten(1, (frames, -1)).amax((0, 2))
                changed |= difference > 1e-6 * difference.max()
            hops = torch.nonzero(changed).flatten()
            if len(hops) == 0:
                raise CheckpointError(f"{self._path}: its audio does not depend on its input")
            first, last = int(hops[0]), int(hops[-1])
            if first > 0 and last < frames - 1:
                return last - middle, middle - first
        raise CheckpointError(f"{self._path}: a hop of audio depends on more than {PROBE_FRAMES[-1] // 2} frames, it cannot be streamed")

    def init_state(self, batch: int = 1, frame: int = 0) -> OnnxState:
        """Nothing before absolute frame ``frame``."""
        return OnnxState(torch.zeros(batch, 0, self.format.mel_bins), 0, self.lookahead_frames, frame - self.lookahead_frames)

    def step(self, mel: Tensor, state: OnnxState, guide: Tensor | None = None) -> tuple[Tensor, OnnxState]:
        """Next frames (B, T, mel), natural log, in; as many hops out, ``lookahead_frames`` behind (silence at first)."""
        seen = torch.cat((state.mel, mel.cpu().float()), 1)
        lead = min(state.silent, mel.shape[1])
        hops = mel.shape[1] - lead
        waiting = state.waiting + lead
        audio = seen.new_zeros(len(seen), lead * self.format.hop_samples)
        if hops:
            audio = torch.cat((audio, self._hops(seen, seen.shape[1] - waiting - hops, hops)), 1)
        keep = self.past_frames + self.lookahead_frames + HISTORY_FRAMES
        return audio, OnnxState(seen[:, -keep:], waiting, state.silent - lead, state.frame + mel.shape[1])

    def finish(self, state: OnnxState) -> Tensor:
        """The audio that is still owed when no more frames come (B, hops * hop)."""
        return self._hops(state.mel, state.mel.shape[1] - state.waiting, state.waiting)

    def _hops(self, mel: Tensor, first: int, count: int) -> Tensor:
        """Audio of hops ``first`` to ``first + count`` of ``mel``, computed with the frames around them that matter."""
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
