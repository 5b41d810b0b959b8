"""The few-step flow within a window: draft frames to refined frames.

At each step frames attend to the earlier frames of their window as these were at that step. So all frames of a window are one sample, however
the window is cut into stretches.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from specdiffd.base.formats import MelFormat
from specdiffd.base.sizes import SIZES
from specdiffd.diffusion.caches import DecoderState
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.sampler import flow_step, flow_times, part_noise
from specdiffd.instruments.state import StreamState, Window


class Sampler:
    """Samples frames with the decoder.

    Args:
        steps: of the flow.
        seed: of its noise, which is a function of the seed and the absolute frame.
        noise: factor on the flow's initial noise.
    """

    def __init__(self, fmt: MelFormat, decoder: Decoder, steps: int, seed: int, noise: float) -> None:
        self._format, self._decoder, self._seed = fmt, decoder, seed
        self.steps, self._noise_scale = steps, decoder.config.noise_scale * noise
        self._device = decoder.spec_out.weight.device
        self._films = decoder.schedule(torch.tensor(flow_times(steps)[:-1], device=self._device))

    def sampled(self, state: StreamState, prior: Tensor, window: Window) -> Generator[None, None, tuple[Tensor, Window]]:
        """Sample the frames of ``prior``, which follow those of ``state``, in stages of half a step.

        Args:
            prior: (B, F, mel) natural log.
            window: of these frames.

        Returns:
            mel (B, F, mel) natural log, and the window with these frames in the decoder's memory.
        """
        first, fmt = state.next_frame, self._format
        while (missing := first - window.start - window.frames) > 0:
            window = yield from self.remembered(state, window, min(missing, SIZES.pass_frames))
        source = fmt.scale_unclipped(prior)
        x, after = self._noisy(source, first), []
        for step, decoder in enumerate(window.decoder):
            if step:
                yield
            velocity, decoder = yield from self._at_step(step, x, source, window, decoder)
            x = flow_step(x, velocity, step, self.steps, self._decoder.config.noise_scale)
            after.append(decoder)
        mel = fmt.unscale(x).clamp(fmt.log_floor, 2 * fmt.log_ceiling)
        return mel, window._replace(decoder=tuple(after))

    def remembered(self, state: StreamState, window: Window, frames: int) -> Generator[None, None, Window]:
        """The window with the next ``frames`` frames of ``state`` in the decoder's memory, in stages of half a step."""
        first = window.start + window.frames
        clean, prior = self._known(state, first, first + frames)
        noisy, after = self._noisy(prior, first), []
        for step, decoder in enumerate(window.decoder):
            if step:
                yield
            x = torch.lerp(clean, noisy, flow_times(self.steps)[step])
            _, decoder = yield from self._at_step(step, x, prior, window, decoder)
            after.append(decoder)
        return window._replace(decoder=tuple(after))

    def _known(self, state: StreamState, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Mel and note prior of known frames in the model's range, (B, last - first, mel) each."""
        fmt = self._format
        mel, prior = (state.between(frames, first, last, fmt.log_floor) for frames in (state.mel, state.prior))
        return fmt.scale(mel), fmt.scale_unclipped(prior)

    def _noisy(self, prior: Tensor, first: int) -> Tensor:
        """The flow's initial value for ``prior``, whose first frame is ``first``; both (B, F, mel) in the model's range."""
        parts, frames, bins = prior.shape
        noise = part_noise(self._seed, parts, first, frames, bins)
        return prior + self._noise_scale * noise.to(prior)

    def _at_step(
        self, step: int, x: Tensor, prior: Tensor, window: Window, decoder: DecoderState
    ) -> Generator[None, None, tuple[Tensor, DecoderState]]:
        """Velocities of ``x`` (B, F, mel) at a step, and the decoder's state with these frames."""
        films = self._films.at(torch.full((1, 1), step, device=self._device))
        return (yield from self._decoder.step_in_halves(x, prior, films, window.conditioning, decoder))
