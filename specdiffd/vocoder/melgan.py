"""The built-in vocoder: a streaming MelGAN-family generator with a sinusoidal and a noise head.

Harmonic plus noise: a sinusoid for every mel bin, free to move within its neighbourhood, and noise of a short-time
spectrum. A stack of convolutions with an inverse STFT or transposed convolutions at its end cannot do the first part: it
answers a steady mel with a waveform that repeats at the frame rate, so every steady pitch that is no multiple of it
comes out wrong. Here phases are integrals of predicted frequencies (as in DDSP, arXiv 2001.04643).

- A local network, the same for every bin, reads a patch of the mel around it: frequency and amplitudes. Finding a peak
  between bins is the same task everywhere, and is learned once. Where the score is known it also reads a guide, the
  strongest partial near each bin and how long it has sounded: windows of 40 ms resolve neither low and close notes nor
  when in them a note began, the score does.
- A causal ConvNeXt trunk (as in Vocos, arXiv 2306.00814) at the frame rate and a short one at ``subframes`` per frame
  read the whole spectrum and the guide: corrections to both, and the noise.
- Noise is complex Gaussian, a function of the absolute frame, so equal mels give equal sound. Its pieces overlap; each
  has an envelope of its own, so that an attack is not smeared over a piece.
- What comes out is analysed as the mel was, and each short-time spectrum brought to the levels that the mel asks for: the step
  from magnitudes to a signal of the method of Griffin and Lim (1984), once. The networks say how a mel becomes a waveform, and need not say
  how loud each bin of it comes out.

All state is a value (`VocoderState`); it holds enough of the past that the stream can go back by up to
``history_frames`` and take another continuation from there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specdiffd.backends.openvino import Graph, Input
from specdiffd.base.formats import NO_GUIDE, MelFormat
from specdiffd.base.mel_scale import hz_difference, hz_to_log, log_to_hz
from specdiffd.dsp.mel import mel_filters
from specdiffd.vocoder import oscillators, playing
from specdiffd.vocoder.oscillators import Gate, phases

NOISE_PERIOD_FRAMES = 512
FRAME = 1 + len(NO_GUIDE)  # numbers of a bin in a frame: log mel and guide
READ = 4  # of them are read by the networks; the last two say what is let through before an onset
MARGIN = 2.3  # nepers that a bin may be louder than a steady sound that explains its mel
NOISE_HEARD = 0.45  # log mel of noise of level 1, by the root of the window and the width of the triangle in bins
# Of the partials that the score knows, those that are heard one by one: with the network's own frequencies for them too the note F1 of
# guided copies was 0.92 of the original's, with these 1.00; up to 7 kHz 0.99.
KNOWN_TO_HZ, KNOWN_LEVEL = 2000.0, -8.0
ATTACK_S = 0.0005  # from the moment that the score gives
SILENT_OSCILLATOR = -9.0  # log amplitude, 78 dB below full scale
# Above the oscillators there is no tone, but the kinks of their amplitudes, some 100 dB down, where soft sounds have their noise.
# Levels are corrected from here on, within limits. Of copies with the score the mel L1 is 0.279 without, 0.152 with all bins, 0.163 from here
# on and 0.171 from 1 kHz; their note F1 0.579, 0.566, 0.581 and 0.576. A second time would be 0.131.
LEVELLED_FROM_HZ, LEVELLED_NEPERS = 400.0, 2.3
TONE_TAPS, TONE_HZ = 33, 2500.0  # of a filter, and how far above the last oscillator it ends


@dataclass(frozen=True)
class VocoderConfig:
    """Sizes of the generator. Mel format first, then the network."""

    sample_rate_hz: int = 16000
    hop_samples: int = 320
    mel_bins: int = 128
    low_hz: float = 0.0
    high_hz: float = 8000.0
    local_width: int = 64
    patch_bins: int = 7
    guide_frames: int = 3
    width: int = 256
    blocks: int = 5
    sub_width: int = 128
    sub_blocks: int = 2
    kernel: int = 7
    lookahead_frames: int = 2
    subframes: int = 4
    history_frames: int = 64
    log_floor: float = math.log(1e-5)  # of the mel format
    oscillators: int = 128  # for the lowest bins; above them is noise
    gates: int = 4  # points of a noise piece's envelope in a subframe
    mel_fft_size: int = 1024  # of the mel format

    @property
    def sub_hop_samples(self) -> int:
        """Samples per subframe."""
        return self.hop_samples // self.subframes

    @property
    def guided(self) -> slice:
        """Of the kernel's frames those around the hop itself, whose guide is read."""
        middle = self.kernel - 1 - self.lookahead_frames
        return slice(middle - self.guide_frames // 2, middle + self.guide_frames // 2 + 1)

    @property
    def fft_size(self) -> int:
        """Length of the short inverse transform: four subframes."""
        return 4 * self.sub_hop_samples


class VocoderState(NamedTuple):
    """What the next frame needs, and the same for the frames before it, newest last along the dimension before the last."""

    mel: Tensor  # (B, kernel - 1 + history, mel, 6) a frame: log mel and guide
    trunk: Tensor  # (blocks, B, kernel - 1 + history, width) what each block has seen
    sub: Tensor  # (sub_blocks, B, kernel - 1 + history * subframes, sub_width)
    amplitude: Tensor  # (B, 1 + history * subframes, oscillators)
    cycles: Tensor  # (B, 1 + history * subframes, oscillators) phase beyond the centre frequency's, / 2 pi
    wave: Tensor  # (B, 1 + history, taps - 1) the last of the tones before their filter
    tail: Tensor  # (B, 1 + history, fft_size - sub_hop) what overlaps the next frame
    unlevelled: Tensor  # (B, 1 + history, hop) the newest hop, which the next one's window begins with
    owed: Tensor  # (B, 1 + history, hop) of the window before, to the newest hop
    frame: int  # absolute number of the next hop to be synthesised; it comes out one later

    def rewind(self, frames: int, subframes: int) -> VocoderState:
        """The state as it was ``frames`` earlier.

        Raises:
            ValueError: the history does not reach that far.
        """
        if frames == 0:
            return self
        if not 0 < frames < self.tail.shape[1]:
            raise ValueError(f"cannot go back {frames} frames, the history holds {self.tail.shape[1] - 1}")

        def cut(x: Tensor, rate: int = 1) -> Tensor:
            return x[:, : x.shape[1] - frames * rate]

        return VocoderState(
            cut(self.mel),
            self.trunk[:, :, : self.trunk.shape[2] - frames],
            self.sub[:, :, : self.sub.shape[2] - frames * subframes],
            cut(self.amplitude, subframes),
            cut(self.cycles, subframes),
            cut(self.wave),
            cut(self.tail),
            cut(self.unlevelled),
            cut(self.owed),
            self.frame - frames,
        )


class Heads(NamedTuple):
    """Raw outputs, one row a subframe, and what the score says of onsets, one row a hop."""

    amplitude: Tensor  # (B, M, oscillators) log
    offset: Tensor  # (B, M, oscillators) of the frequency from the bin's centre, in units of its spread
    noise: Tensor  # (B, M, bins) log
    envelope: Tensor  # (B, M, points) log
    onsets: Tensor  # (B, T, mel, 2) share of the power that begins in the window from the hop on, and where in it
    ceiling: Tensor  # (B, T, mel) the largest log mel of the frames that show the hop, bin and neighbours
    wanted: Tensor  # (B, T, mel, 6) the frames whose windows begin with the hop before: log mel and guide


class LocalNetwork(nn.Module):
    """Frequency and amplitudes of one bin's oscillator from the mel around it; the same weights for every bin."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.patch_bins, self.subframes = config.patch_bins, config.subframes
        self.place = nn.Parameter(torch.zeros(config.oscillators, config.local_width))
        self.guided = config.guided
        self.patch = nn.Linear(config.kernel * config.patch_bins, config.local_width)
        self.guide = nn.Linear(3 * config.guide_frames * config.patch_bins, config.local_width, bias=False)
        nn.init.zeros_(self.guide.weight)
        self.neighbours = nn.Linear(3 * config.local_width, config.local_width)
        self.out = nn.Linear(config.local_width, 2 * config.subframes)
        with torch.no_grad():
            self.out.bias[: config.subframes] = -6.0

    def forward(self, windows: Tensor) -> Tensor:
        """(B, T, oscillators, 4, kernel), scaled, to what ``out`` reads: (B, T, oscillators, local_width)."""
        windows = windows.to(self.patch.weight.dtype)
        x = _over_bins(self.patch, windows[..., 0, :], self.patch_bins)
        x = x + _over_bins(self.guide, windows[..., 1:, self.guided].flatten(3), self.patch_bins)
        x = F.gelu(x + self.place.to(x.dtype))
        return F.gelu(_over_bins(self.neighbours, x, 3))

    def oscillators(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log amplitude and frequency offset (B, T * subframes, oscillators) from the network's output."""
        x = self.out(x.to(self.out.weight.dtype)).float().unflatten(-1, (2, self.subframes))  # (B, T, oscillators, 2, sub)
        amplitude, offset = x.permute(3, 0, 1, 4, 2).flatten(2, 3).unbind(0)
        return amplitude, offset


class CausalConv(nn.Module):
    """Depthwise convolution over time as shifted products (several times faster than conv1d for these sizes on a CPU)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(kernel, width) / math.sqrt(kernel))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T + kernel - 1, width) to (B, T, width)."""
        kernel = self.weight.shape[0]
        frames = x.shape[1] - kernel + 1
        y = x[:, :frames] * self.weight[0] + self.bias
        for j in range(1, kernel):
            y = y + x[:, j : j + frames] * self.weight[j]
        return y


class ConvNextBlock(nn.Module):
    """Depthwise convolution, norm, two linear layers, residual (arXiv 2201.03545), causal."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = CausalConv(width, kernel)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)
        nn.init.normal_(self.down.weight, std=0.2 / math.sqrt(3 * width))
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        """(B, T, width) with (B, kernel - 1, width) before it."""
        return x + self.down(F.gelu(self.up(self.norm(self.conv(torch.cat((past, x), 1))))))


class Vocoder(nn.Module):
    """Mel to audio. ``step`` streams; ``forward`` is one step from silence."""

    centre_hz: Tensor
    spread_hz: Tensor
    taps: Tensor
    hann: Tensor
    window: Tensor
    overlap: Tensor
    filters: Tensor
    spread: Tensor
    tents: Tensor
    nearest: Tensor
    tone_gain: Tensor
    noise_gain: Tensor
    shift: Tensor
    factor: Tensor
    noise: Tensor

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = c = config
        self.local = LocalNetwork(c)
        self.embed = nn.Linear(c.kernel * c.mel_bins, c.width)
        self.embed_guide = nn.Linear(2 * c.guide_frames * c.mel_bins, c.width, bias=False)
        nn.init.zeros_(self.embed_guide.weight)
        self.embed_norm = nn.LayerNorm(c.width)
        self.trunk = nn.ModuleList(ConvNextBlock(c.width, c.kernel) for _ in range(c.blocks))
        self.trunk_norm = nn.LayerNorm(c.width)
        self.split = nn.Linear(c.width, c.subframes * c.sub_width)
        self.sub = nn.ModuleList(ConvNextBlock(c.sub_width, c.kernel) for _ in range(c.sub_blocks))
        self.sub_norm = nn.LayerNorm(c.sub_width)
        self.sizes = [c.oscillators, c.oscillators, c.fft_size // 2 + 1, c.gates * (c.fft_size // c.sub_hop_samples)]
        self.heads = nn.Linear(c.sub_width, sum(self.sizes))
        nn.init.normal_(self.heads.weight, std=0.02)
        with torch.no_grad():
            self.heads.bias.zero_()
            self.heads.bias.split(self.sizes)[2].fill_(-6.0)
        self.make_constants()

    def use(self, dtype: torch.dtype) -> Vocoder:
        """Compute the networks in ``dtype``; their last layers stay in float32, a level of eight bits would be heard as noise."""
        for network in (self.embed, self.embed_guide, self.embed_norm, self.trunk, self.trunk_norm, self.split, self.sub, self.sub_norm):
            network.to(dtype)
        for layer in (self.local.patch, self.local.guide, self.local.neighbours):
            layer.to(dtype)
        return self

    def make_constants(self) -> None:
        """Oscillator grid, window and noise: derived from the config, so not part of a checkpoint."""
        c = self.config
        if self.embed.weight.is_meta:
            return
        low, high = hz_to_log(c.low_hz), hz_to_log(c.high_hz)
        grid_hz = log_to_hz(torch.linspace(low, high, c.mel_bins + 2, dtype=torch.float64))
        self.bin_mel = (high - low) / (c.mel_bins + 1)
        self.register_buffer("centre_hz", grid_hz[1:-1][: c.oscillators].float(), persistent=False)
        self.register_buffer("spread_hz", ((grid_hz[2:] - grid_hz[:-2]) / 2)[: c.oscillators].float(), persistent=False)
        self.register_buffer("taps", self._tone_filter(), persistent=False)
        self.register_buffer("hann", torch.hann_window(c.fft_size) / 2, persistent=False)  # four of them overlap to 1
        fmt = MelFormat(
            c.sample_rate_hz, c.hop_samples, 2 * c.hop_samples, c.mel_fft_size, c.mel_bins, c.low_hz, c.high_hz, math.exp(c.log_floor)
        )
        filters = mel_filters(fmt)
        levelled = torch.arange(len(filters))[:, None] * (c.sample_rate_hz / c.mel_fft_size) >= LEVELLED_FROM_HZ
        window = torch.hann_window(2 * c.hop_samples)
        first, second = window.square().chunk(2)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("spread", (filters * levelled / filters.sum(1, keepdim=True).clamp_min(1e-9)).T.contiguous(), persistent=False)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("overlap", window / (first + second).repeat(2), persistent=False)
        self.register_buffer("shift", torch.tensor([5.0, 0.0, 6.0, -1.0]), persistent=False)
        self.register_buffer("factor", torch.tensor([0.25, 2.0, 0.25, 2.0]), persistent=False)
        points = self.sizes[3]
        places = (torch.arange(c.fft_size) + 0.5) / c.fft_size * points - 0.5
        tents = (1 - (places.clamp(0, points - 1) - torch.arange(points)[:, None]).abs()).clamp_min(0)
        self.register_buffer("tents", tents, persistent=False)  # (points, fft_size) linear interpolation
        # A sinusoid of amplitude 1 is seen by at least half of its peak; noise by every bin of the transform below the triangle.
        seen, step_hz = 2 * c.hop_samples, c.sample_rate_hz / c.mel_fft_size
        self.register_buffer("tone_gain", torch.tensor(math.log(seen / 8)), persistent=False)
        noise_hz = torch.arange(c.fft_size // 2 + 1) * c.sample_rate_hz / c.fft_size
        nearest = (noise_hz[:, None] - grid_hz[1:-1].float()).abs().argmin(1)
        wide = ((grid_hz[2:] - grid_hz[:-2]) / 2 / step_hz).clamp_min(1.0).float()
        self.register_buffer("nearest", nearest, persistent=False)
        self.register_buffer("noise_gain", torch.log(NOISE_HEARD * math.sqrt(seen) * wide[nearest]), persistent=False)
        generator = torch.Generator().manual_seed(0)
        shape = (NOISE_PERIOD_FRAMES, c.subframes, c.fft_size // 2 + 1, 2)
        self.register_buffer("noise", torch.randn(shape, generator=generator), persistent=False)
        point = (tents > 0).int().argmax(0)  # the first of the two that a sample lies between
        bank = playing.Bank(
            centre_hz=self.centre_hz.numpy(),
            spread_hz=self.spread_hz.numpy(),
            rate_hz=np.float32(c.sample_rate_hz),
            subframes=c.subframes,
            samples=c.sub_hop_samples,
            tone_gain=np.float32(self.tone_gain),
            log_floor=np.float32(c.log_floor),
            margin=np.float32(MARGIN),
            silent=np.float32(SILENT_OSCILLATOR),
            ramp=np.float32(ATTACK_S * c.sample_rate_hz),
        )
        shaped = playing.Noise(
            noise=self.noise.numpy(),
            nearest=nearest.numpy(),
            gain=self.noise_gain.numpy(),
            hann=self.hann.numpy(),
            point=point.numpy(),
            beyond=(1 - tents.gather(0, point[None])[0]).numpy(),
            root=np.float32(math.sqrt(c.fft_size)),
        )
        self._loops = bank, shaped
        of_bins = F.pad(self.filters, (1, 1)), F.pad(self.spread.T, (1, 1))
        below = (of_bins[0] > 0).int().argmax(1).clamp_max(c.mel_bins)
        heights = [x.gather(1, below[:, None] + beside)[:, 0].numpy() for x in of_bins for beside in (0, 1)]
        limits = np.float32(c.log_floor), np.float32(LEVELLED_NEPERS)
        self._levels = playing.Levels(below.numpy(), heights[0], heights[1], heights[2], heights[3], *limits)

    def _tone_filter(self) -> Tensor:
        """A low pass (Kaiser's window) for tones that end below the format's range: they come a third of a millisecond late."""
        c = self.config
        if c.oscillators == c.mel_bins:
            return torch.ones(1)
        n = torch.arange(TONE_TAPS, dtype=torch.float64) - (TONE_TAPS - 1) / 2
        cutoff = 2 * (float(self.centre_hz[-1]) + TONE_HZ) / c.sample_rate_hz
        taps = torch.sinc(cutoff * n) * torch.kaiser_window(TONE_TAPS, False, 5.0, dtype=torch.float64)
        return (taps / taps.sum()).float()

    def init_state(self, batch: int = 1, frame: int = 0) -> VocoderState:
        """Silence before absolute frame ``frame``."""
        c, like = self.config, self.embed.weight
        context = c.kernel - 1

        def zeros(rows: int, width: int) -> Tensor:
            return like.new_zeros(batch, rows, width, dtype=torch.float32)

        return VocoderState(
            _silence(like.new_zeros(batch, context, 0), self.config),
            like.new_zeros(c.blocks, batch, context, c.width),
            like.new_zeros(c.sub_blocks, batch, context, c.sub_width),
            zeros(1, c.oscillators),
            zeros(1, c.oscillators),
            zeros(1, len(self.taps) - 1),
            zeros(1, c.fft_size - c.sub_hop_samples),
            zeros(1, c.hop_samples),
            zeros(1, c.hop_samples),
            frame - c.lookahead_frames,
        )

    @property
    def lookahead_frames(self) -> int:
        """How many frames the audio comes behind: what the networks look ahead, and the window that levels are measured in."""
        return self.config.lookahead_frames + 1

    def rewind(self, state: VocoderState, frames: int) -> VocoderState:
        """The state as it was ``frames`` earlier.

        Raises:
            ValueError: the history does not reach that far.
        """
        return state.rewind(frames, self.config.subframes)

    def finish(self, state: VocoderState) -> Tensor:
        """The audio that is still owed when no more frames come (B, lookahead_frames * hop)."""
        frames = _silence(state.tail[:, :1].expand(-1, self.lookahead_frames, -1), self.config)
        return self.step(frames[..., 0], state, frames[..., 1:])[0]

    def step(self, mel: Tensor, state: VocoderState, guide: Tensor | None = None) -> tuple[Tensor, VocoderState]:
        """Next frames in, as many hops out, ``lookahead_frames`` behind.

        Args:
            mel: (B, T, mel_bins), natural log.
            state: from ``init_state`` or an earlier step.
            guide: (B, T, mel_bins, 5) as :class:`specdiffd.prior.playing.PlayedPrior` makes it; None where there is no score.

        Returns:
            audio (B, T * hop) of the hops ``state.frame - 1`` to ``state.frame - 1 + T``, and the next state.
        """
        heads, seen = self.analyse(mel, state, guide)
        return self.voice(heads, seen, state)

    def voice(self, heads: Heads, seen: VocoderState, state: VocoderState) -> tuple[Tensor, VocoderState]:
        """The rest of a step, after :meth:`analyse`."""
        audio, after = self.synthesise(heads, seen, state)
        return self.level(audio, heads.wanted, after)

    def analyse(self, mel: Tensor, state: VocoderState, guide: Tensor | None = None) -> tuple[Heads, VocoderState]:
        """The networks' part of a step: the heads' raw outputs, and the state with what the networks have seen."""
        c, context = self.config, self.config.kernel - 1
        frames = _silence(mel[..., :0], self.config)
        frames[..., 0] = mel
        if guide is not None:
            frames[..., 1:] = guide
        before = (state.mel[:, -context:, :, :READ], frames[..., :READ], state.trunk[:, :, -context:], state.sub[:, :, -context:])
        local, x, trunk, sub = self.read(*before)
        x, sub = x.flatten(1, 2), sub.flatten(2, 3)
        local_amplitude, local_offset = self.local.oscillators(local)
        amplitude, offset, noise, envelope = self.heads(x.to(self.heads.weight.dtype)).float().split(self.sizes, -1)
        history = c.history_frames
        mels = torch.cat((state.mel, frames), 1)
        hops = mels.shape[1] - c.lookahead_frames
        shown = mels[:, hops - frames.shape[1] - 1 : hops]
        ceiling = torch.maximum(shown[:, 1:, :, 0], shown[:, :-1, :, 0])
        ceiling = F.max_pool1d(ceiling.flatten(0, 1)[:, None], 3, 1, 1)[:, 0].view_as(ceiling)
        onsets = shown[:, 1:, :, READ:]
        after = state._replace(
            mel=_last(mels, context + history),
            trunk=_last(torch.cat((state.trunk, trunk), 2), context + history, 2),
            sub=_last(torch.cat((state.sub, sub), 2), context + history * c.subframes, 2),
        )
        offset = self._tuned(torch.tanh(offset + local_offset), shown[:, 1:, : c.oscillators, 1:3])
        return Heads(amplitude + local_amplitude, offset, noise, envelope, onsets, ceiling, shown[:, :-1]), after

    def _tuned(self, offset: Tensor, partials: Tensor) -> Tensor:
        """Frequencies (B, M, oscillators), in spreads, with those of the partials that the score knows: (B, T, oscillators, 2), in bins and log level.

        What is read from windows of 40 ms wavers from frame to frame, which low and close notes are lost in.
        """
        distance, level = partials.unbind(-1)
        exact = hz_difference(self.centre_hz, distance * self.bin_mel) / self.spread_hz
        known = (level > KNOWN_LEVEL) & (self.centre_hz < KNOWN_TO_HZ)
        subframes = self.config.subframes
        return torch.where(known.repeat_interleave(subframes, 1), exact.repeat_interleave(subframes, 1), offset)

    def use_graph(self, threads: int, parts: int) -> list[Graph]:
        """Run :meth:`read` as a graph from now on, for a batch of ``parts``."""
        c = self.config
        context = c.kernel - 1
        example = (
            torch.zeros(parts, context, c.mel_bins, READ),
            torch.zeros(parts, 8, c.mel_bins, READ),
            torch.zeros(c.blocks, parts, context, c.width),
            torch.zeros(c.sub_blocks, parts, context, c.sub_width),
        )
        inputs = (Input({}, exact=True), Input({1: "T"}, exact=True), Input({}), Input({}))
        outputs = ({1: "T"}, {1: "T"}, {2: "T"}, {2: "T"})
        graph = Graph(self, self.embed.weight.dtype, Vocoder.read, example, inputs, outputs, {"T": (10, 14, 28, 64)}, threads)
        setattr(self, "read", graph)  # noqa: B010
        return [graph]

    def read(self, before: Tensor, frames: Tensor, trunk: Tensor, sub: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The networks up to their heads, as a function of tensors alone.

        Args:
            before, frames: (B, kernel - 1, mel, 4) and (B, T, mel, 4).
            trunk, sub: (blocks, B, kernel - 1, width) what each block has seen last.

        Returns:
            what the local network's head reads (B, T, oscillators, local_width) and what the trunk's reads (B, T, subframes,
            sub_width); what each block has seen of the T frames (blocks, B, T, width), (blocks, B, T, subframes, width).
        """
        c = self.config
        windows = ((torch.cat((before, frames), 1) + self.shift) * self.factor).unfold(1, c.kernel, 1)  # (B, T, mel, 4, kernel)
        typed = windows.to(self.embed.weight.dtype)
        x = self.embed(typed[..., 0, :].flatten(2)) + self.embed_guide(typed[..., 2:, c.guided].flatten(2))
        x = self.embed_norm(x)
        seen, sub_seen = [], []
        for k, block in enumerate(self.trunk):
            seen.append(x)
            x = block(x, trunk[k])
        x = self.split(self.trunk_norm(x)).unflatten(-1, (c.subframes, c.sub_width)).flatten(1, 2)
        for k, block in enumerate(self.sub):
            sub_seen.append(x)
            x = block(x, sub[k])
        parts = (-1, c.subframes)
        return (
            self.local(windows[:, :, : c.oscillators]),
            self.sub_norm(x).unflatten(1, parts),
            torch.stack(seen),
            torch.stack(sub_seen).unflatten(2, parts),
        )

    def synthesise(self, heads: Heads, seen: VocoderState, state: VocoderState) -> tuple[Tensor, VocoderState]:
        """Tones and noise (B, T * hop) of the hops ``state.frame`` and on, as the heads say, in float32; training sees this."""
        c, history = self.config, self.config.history_frames
        if torch.is_grad_enabled() or heads.noise.device.type != "cpu":
            tones, amplitude, cycles = self._oscillators(heads, state)
            audio, wave = self._filtered(tones, state)
            rest, tail = self._noise(heads, state)
            audio = audio + rest * self._let_through(heads.onsets)
        else:
            audio, amplitude, cycles, wave, tail = self._played(heads, state)
        return audio, seen._replace(
            amplitude=_last(torch.cat((state.amplitude, amplitude), 1), 1 + history * c.subframes),
            cycles=_last(torch.cat((state.cycles, cycles), 1), 1 + history * c.subframes),
            wave=_last(torch.cat((state.wave, wave), 1), 1 + history),
            tail=_last(torch.cat((state.tail, tail), 1), 1 + history),
            frame=state.frame + tail.shape[1],
        )

    def level(self, audio: Tensor, wanted: Tensor, after: VocoderState) -> tuple[Tensor, VocoderState]:
        """Bring the hops before those of ``audio`` (B, T * hop), which go on from the newest in ``after``, to the levels ``wanted``.

        Before an onset nothing is changed that is not of older notes: a filter spreads to both sides.

        Returns:
            audio (B, T * hop), one hop behind, and the state with what the next step needs.
        """
        c, hop, history = self.config, self.config.hop_samples, self.config.history_frames
        mel, onsets = wanted[..., 0], wanted[..., READ:]
        looped = not torch.is_grad_enabled() and audio.device.type == "cpu"
        windows = torch.cat((after.unlevelled[:, -1], audio), 1).unfold(1, 2 * hop, hop)
        spectra = torch.fft.rfft(windows * self.window, c.mel_fft_size)
        if looped:
            playing.level(self._levels, torch.view_as_real(spectra).numpy(), mel.contiguous().numpy())
        else:
            measured = torch.log((spectra.abs() @ self.filters).clamp_min(math.exp(c.log_floor)))
            missing = (mel - measured).clamp(-LEVELLED_NEPERS, LEVELLED_NEPERS)
            audible = 1 - torch.exp(c.log_floor - mel.amax(-1, keepdim=True).clamp_min(c.log_floor))
            spectra = spectra * (missing @ self.spread).exp() * audible
        pieces = torch.fft.irfft(spectra, c.mel_fft_size)[..., : 2 * hop] * self.overlap
        first, second = pieces.unflatten(-1, (2, hop)).unbind(2)
        before = windows[..., :hop]
        change = first + torch.cat((after.owed[:, -1:], second[:, :-1]), 1) - before
        if looped:
            playing.let_through(self._loops[0], onsets.contiguous().numpy(), change.numpy())
        else:
            change = change * self._let_through(onsets).view_as(change)
        return (before + change).flatten(1), after._replace(
            unlevelled=_last(torch.cat((after.unlevelled, audio.unflatten(1, (-1, hop))), 1), 1 + history),
            owed=_last(torch.cat((after.owed, second), 1), 1 + history),
        )

    def _filtered(self, tones: Tensor, state: VocoderState) -> tuple[Tensor, Tensor]:
        """Tones (B, samples) through their low pass, and what it needs of them after each frame: (B, T, taps - 1)."""
        past = len(self.taps) - 1
        wave = torch.cat((state.wave[:, -1], tones), 1)
        return F.conv1d(wave[:, None], self.taps[None, None])[:, 0], wave.unfold(1, past, self.config.hop_samples)[:, 1:]

    def _played(self, heads: Heads, state: VocoderState) -> tuple[Tensor, ...]:
        """Audio (B, samples), amplitudes, phases, tones before their filter and tails, as loops."""
        c, (batch, rows, count) = self.config, heads.amplitude.shape
        log_amplitude, offset, level, envelope, onsets, ceiling = (x.contiguous().numpy() for x in heads[:-1])
        amplitude, cycles = (torch.empty(batch, rows + 1, count) for _ in range(2))
        amplitude[:, 0], cycles[:, 0] = state.amplitude[:, -1], state.cycles[:, -1]
        tones = torch.empty(batch, rows, c.sub_hop_samples)
        bank, noise = self._loops
        first, states = state.frame * c.subframes, (amplitude.numpy(), cycles.numpy())
        playing.tones(bank, log_amplitude, offset, onsets, ceiling, *states, first, tones.numpy())
        audio, wave = self._filtered(tones.flatten(1), state)
        spectra = torch.empty(*level.shape, 2)
        playing.spectra(bank, noise, level, ceiling, state.frame, spectra.numpy())
        pieces = torch.fft.irfft(torch.view_as_complex(spectra), c.fft_size)
        tail = torch.empty(batch, rows // c.subframes, c.fft_size - c.sub_hop_samples)
        owed = state.tail[:, -1].contiguous().numpy()
        playing.add_noise(bank, noise, pieces.numpy(), envelope, onsets, owed, audio.numpy(), tail.numpy())
        return audio, amplitude[:, 1:], cycles[:, 1:], wave, tail

    def frequencies(self, offsets: Tensor) -> Tensor:
        """Oscillator frequencies in Hz from `Heads.offset`, each within its own and half the next band."""
        return self.centre_hz + self.spread_hz * offsets

    def _oscillators(self, heads: Heads, state: VocoderState) -> tuple[Tensor, Tensor, Tensor]:
        """The bank's audio (B, samples), and the amplitudes and phases at the end of each subframe.

        A phase is that of the band's centre at the absolute sample, plus the integral of the distance from it since the
        oscillator was last silent. So equal mels give equal sound, whatever was rendered before.
        """
        c = self.config
        highest, audible = self._limits(heads.ceiling[..., : c.oscillators], self.tone_gain)
        log_amplitude = torch.minimum(heads.amplitude.clamp(float(playing.LEAST_TONE), 2.0), highest)
        hertz = self.frequencies(heads.offset)
        distance = (hertz - self.centre_hz) * (c.sub_hop_samples / c.sample_rate_hz)  # cycles per subframe
        rows = np.arange(hertz.shape[1], dtype=np.float64) + state.frame * c.subframes  # on the CPU: not every device has double precision
        turns = rows[:, None] * (self._loops[0].centre_hz.astype(np.float64) * c.sub_hop_samples / c.sample_rate_hz)
        carrier = torch.from_numpy(np.remainder(turns, 1.0).astype(np.float32)).to(hertz.device)
        reset = log_amplitude < SILENT_OSCILLATOR
        cycles = phases(distance, state.cycles[:, -1:], reset)
        start = carrier + torch.cat((state.cycles[:, -1:], cycles[:, :-1]), 1)
        amplitude = log_amplitude.exp() * audible
        before = torch.cat((state.amplitude[:, -1:], amplitude[:, :-1]), 1)
        wave = oscillators.oscillate(start, hertz / c.sample_rate_hz, before, amplitude, c.sub_hop_samples, self._gate(heads.onsets))
        return wave.flatten(1), amplitude, cycles

    def _gate(self, onsets: Tensor) -> Gate:
        """What of each oscillator belongs to notes that have begun already: nothing sounds before its onset."""
        c = self.config
        share, place = onsets[:, :, : c.oscillators].unbind(-1)  # (B, T, oscillators)
        subframes = torch.arange(c.subframes, device=share.device)[:, None] * c.sub_hop_samples
        begins = (2 * c.hop_samples * place)[:, :, None] - subframes  # the windows of frames are two hops long
        quiet = (1 - share).sqrt()[:, :, None].expand_as(begins)
        return Gate(begins.flatten(1, 2), quiet.flatten(1, 2), ATTACK_S * c.sample_rate_hz)

    def _let_through(self, onsets: Tensor) -> Tensor:
        """Likewise of the noise, which has no bins: (B, samples), by the mean over the bins."""
        c = self.config
        share, place = onsets.unbind(-1)
        mean = share.mean(-1, keepdim=True)
        gate = Gate(
            2 * c.hop_samples * (share * place).mean(-1, keepdim=True) / mean.clamp_min(1e-6),
            (1 - mean).sqrt(),
            ATTACK_S * c.sample_rate_hz,
        )
        return gate.at(torch.arange(c.hop_samples, device=share.device)).flatten(1)

    def _limits(self, ceiling: Tensor, log_gain: Tensor) -> tuple[Tensor, Tensor]:
        """For each subframe the highest log level that the mel can mean, and a factor that is 0 where it shows silence.

        Without, what is some 80 dB under full scale and below, which losses hardly see, is a hum that a log mel shows.
        """
        ceiling = ceiling.repeat_interleave(self.config.subframes, 1)
        return ceiling - log_gain + MARGIN, 1 - torch.exp(self.config.log_floor - ceiling)

    def _noise(self, heads: Heads, state: VocoderState) -> tuple[Tensor, Tensor]:
        """Inverse transforms of shaped noise under a Hann window and an envelope, overlapped and added; and what overlaps later frames."""
        c = self.config
        batch, rows = heads.noise.shape[:2]
        frames = torch.arange(state.frame, state.frame + rows // c.subframes, device=heads.noise.device) % NOISE_PERIOD_FRAMES
        noise = torch.view_as_complex(self.noise[frames].flatten(0, 1))  # (M, bins)
        highest, audible = self._limits(heads.ceiling[..., self.nearest], self.noise_gain)
        spectrum = torch.minimum(heads.noise.clamp(-14, 4), highest).exp() * audible * noise
        pieces = torch.fft.irfft(spectrum * math.sqrt(c.fft_size), c.fft_size) * self.hann  # (B, M, fft)
        pieces = pieces * (heads.envelope.clamp(-8, 2).exp() @ self.tents)
        hop, quarter = c.sub_hop_samples, 4
        overlap = heads.noise.new_zeros(batch, (rows + quarter - 1), hop)
        for j, part in enumerate(pieces.unflatten(-1, (quarter, hop)).unbind(2)):
            overlap = overlap + F.pad(part, (0, 0, j, quarter - 1 - j))
        history = state.tail[:, -1].unflatten(-1, (quarter - 1, hop))
        overlap = overlap + F.pad(history, (0, 0, 0, rows))
        return overlap[:, :rows].flatten(1), self._tails(pieces)

    def _tails(self, pieces: Tensor) -> Tensor:
        """After each frame, what its last subframes still owe to the samples behind it: (B, T, fft_size - sub_hop)."""
        c = self.config
        hop = c.sub_hop_samples
        last = pieces.unflatten(1, (-1, c.subframes))[:, :, -3:].unflatten(-1, (4, hop))  # (B, T, 3, 4, hop)
        first, second, third = last.unbind(2)
        empty = torch.zeros_like(first[:, :, :1])
        tail = third[:, :, 1:] + torch.cat((second[:, :, 2:], empty), 2) + torch.cat((first[:, :, 3:], empty, empty), 2)
        return tail.flatten(2)

    def forward(self, mel: Tensor, guide: Tensor | None = None) -> Tensor:
        """(B, T, mel_bins) to (B, T * hop): one step from silence, the lookahead filled with silence."""
        late = _silence(mel[:, :1].expand(-1, self.lookahead_frames, -1), self.config)
        if guide is not None:
            guide = torch.cat((guide, late[..., 1:]), 1)
        audio, _ = self.step(torch.cat((mel, late[..., 0]), 1), self.init_state(mel.shape[0]), guide)
        return audio[:, self.lookahead_frames * self.config.hop_samples :]


def _over_bins(linear: nn.Linear, x: Tensor, bins: int) -> Tensor:
    """A layer that reads each mel bin with its neighbours, ``bins`` in all: (B, T, mel, n) to (B, T, mel, outputs).

    Its weights are (outputs, n * bins), neighbours innermost; the shifted copies are laid side by side, which is faster.
    """
    side, count = bins // 2, x.shape[2]
    padded = F.pad(x, (0, 0, side, side))
    beside = torch.cat([padded[:, :, k : k + count] for k in range(bins)], -1)
    return F.linear(beside, linear.weight.unflatten(1, (-1, bins)).transpose(1, 2).flatten(1), linear.bias)


def _silence(like: Tensor, config: VocoderConfig) -> Tensor:
    """Frames (B, T, mel_bins, 6) of silence without a guide, for ``like`` (B, T, ...)."""
    frames = torch.empty(*like.shape[:2], config.mel_bins, FRAME, device=like.device)
    frames[..., 0] = config.log_floor
    frames[..., 1:] = torch.tensor(NO_GUIDE, device=like.device)
    return frames


def _last(x: Tensor, rows: int, dim: int = 1) -> Tensor:
    return x.narrow(dim, max(0, x.shape[dim] - rows), min(rows, x.shape[dim]))
