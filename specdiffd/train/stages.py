"""The stages that make the built-in instrument: note prior, decoder and vocoder upon it, one checkpoint of all three.

A run is a folder with one resumable run for each stage and the exported checkpoint. A stage that the folder does not
hold is taken from the checkpoint that the run starts from, so any of them can be trained further on its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from specdiffd.errors import UsageError
from specdiffd.formats import FULL_BAND
from specdiffd.layout import CONFIG, PRIOR, read_config
from specdiffd.model.checkpoint import load_weights
from specdiffd.model.network import DecoderConfig, EncoderConfig
from specdiffd.model.prior import NotePrior, PriorConfig
from specdiffd.tokens.codec import Codec
from specdiffd.train.data import PieceBank
from specdiffd.train.export import export
from specdiffd.train.loop import STATE
from specdiffd.train.spectrogram import train_decoder, train_prior
from specdiffd.train.vocoder import train_vocoder
from specdiffd.vocoder.melgan import VocoderConfig

log = logging.getLogger(__name__)
# Stages in order and the share of the minutes that each takes.
STAGES = {"prior": 0.25, "decoder": 0.35, "vocoder": 0.4}
CHECKPOINT = "checkpoint"
FORMAT = FULL_BAND
PRIOR_CONFIG = PriorConfig(
    mel_bins=FORMAT.mel_bins,
    sample_rate_hz=FORMAT.sample_rate_hz,
    window_samples=FORMAT.window_samples,
    fft_size=FORMAT.fft_size,
    low_hz=FORMAT.low_hz,
    high_hz=FORMAT.high_hz,
    log_floor=FORMAT.log_floor,
)
CODEC = Codec(steps_per_second=200, max_shift_steps=1100, velocity_bins=32, program_granularity="full")
ENCODER_CONFIG = EncoderConfig(
    d_model=256, num_layers=2, num_heads=4, d_ff=768, vocab_size=-(-CODEC.vocabulary_size // 128) * 128, causal=True, scaled_attention=True, input_dims=FORMAT.mel_bins
)
DECODER_CONFIG = DecoderConfig(
    d_model=256,
    num_layers=5,
    num_heads=4,
    d_ff=768,
    input_dims=FORMAT.mel_bins,
    causal=True,
    scaled_attention=True,
    stem_channels=16,
    noise_scale=0.08,
    film_width=512,
)
VOCODER_CONFIG = VocoderConfig()


def train(
    run: Path,
    stages: Sequence[str],
    songs: Sequence[Path],
    *,
    minutes: float,
    start: Path | None = None,
    pieces: int = 200,
    batch: int | None = None,
    adversarial_from: float = 0.45,
    device: str = "cpu",
    soundfonts: Sequence[str] = ("fluid",),
) -> Path:
    """Train ``stages`` for ``minutes`` in all, resuming what ``run`` holds, then export the checkpoint.

    Args:
        songs: MIDI files; empty: generated music only.
        start: a checkpoint whose weights the stages begin with, and that gives the parts that ``run`` has not trained.
        pieces: how many rendered half minutes are held in memory.
        batch: examples per step; default: what two cores handle (4; 5 for the vocoder; 24 for the prior).
        adversarial_from: share of the vocoder's time after which its discriminators take part (1: never).

    Returns:
        The checkpoint's folder, not there yet while a part of it has been trained nowhere.

    Raises:
        UsageError: a stage needs the note prior and there is none.
    """
    wanted = [stage for stage in STAGES if stage in stages]
    if wanted:
        log.info("rendering %d pieces", pieces)
        with PieceBank(songs, FORMAT.sample_rate_hz, pieces=pieces, soundfonts=soundfonts) as bank:
            for stage in wanted:
                budget = minutes * STAGES[stage] / sum(STAGES[s] for s in wanted)
                out = run / stage
                if stage == "prior":
                    train_prior(out, bank, FORMAT, PRIOR_CONFIG, start, minutes=budget, batch=batch or 24, device=device)
                elif stage == "decoder":
                    configs = CODEC, ENCODER_CONFIG, DECODER_CONFIG
                    prior = _prior(run, start)
                    train_decoder(out, bank, FORMAT, prior, *configs, start, minutes=budget, batch=batch or 4, device=device)
                else:
                    train_vocoder(
                        out,
                        bank,
                        FORMAT,
                        VOCODER_CONFIG,
                        _prior(run, start).to(device),
                        start,
                        minutes=budget,
                        batch=batch or 5,
                        adversarial_from=adversarial_from,
                        device=device,
                    )
    sources = {stage: run / stage if (run / stage / STATE).exists() else start for stage in STAGES}
    if all(sources.values()):
        export(run / CHECKPOINT, FORMAT, {k: v for k, v in sources.items() if v is not None}, "builtin")
    return run / CHECKPOINT


def _prior(run: Path, start: Path | None) -> NotePrior:
    """The note prior that the other stages build upon."""
    trained = run / "prior" / STATE
    if trained.exists():
        prior = NotePrior(PRIOR_CONFIG)
        prior.load_state_dict(torch.load(trained, weights_only=True)["average"])
        return prior.eval().requires_grad_(False)
    if start is None:
        raise UsageError(f"no note prior in {run}: train it first (stage prior), or name a checkpoint that has one (--start)")
    config = read_config(start / PRIOR / CONFIG, PriorConfig)
    return load_weights(start / PRIOR, lambda: NotePrior(config))
