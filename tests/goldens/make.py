"""Makes the goldens: what the public code (diffusers 0.27.2) does with small checkpoints of odd sizes and odd songs.

``make goldens`` runs it in an environment of its own.
"""

import json
import random
import shutil
from pathlib import Path

import mido
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, SpectrogramDiffusionPipeline
from diffusers.models import T5FilmDecoder
from diffusers.pipelines.deprecated.spectrogram_diffusion import (
    MidiProcessor,
    SpectrogramContEncoder,
    SpectrogramNotesEncoder,
)

HERE = Path(__file__).parent
PUBLISHED = {"beta_schedule": "squaredcos_cap_v2", "variance_type": "fixed_large", "clip_sample": True, "num_train_timesteps": 1000}
SIZES = {
    "narrow": {"d_model": 24, "num_layers": 2, "num_heads": 3, "d_kv": 7, "d_ff": 37},
    "wide": {"d_model": 34, "num_layers": 1, "num_heads": 2, "d_kv": 20, "d_ff": 29},
}


def song(seed: int) -> mido.MidiFile:
    """A random song with what goes wrong in practice: overlaps, empty notes, pedal, drums, tempo changes, long silences."""
    rng = random.Random(seed)
    file = mido.MidiFile(ticks_per_beat=rng.choice([96, 220, 480]))
    tempo = mido.MidiTrack()
    for _ in range(rng.randrange(1, 4)):
        tempo.append(mido.MetaMessage("set_tempo", tempo=rng.randrange(300_000, 900_000), time=rng.randrange(0, 900)))
    file.tracks.append(tempo)
    for channel in rng.sample([0, 1, 2, 5, 9], rng.randrange(1, 5)):
        rows = [(0, mido.Message("program_change", channel=channel, program=rng.randrange(128)))]
        at = rng.randrange(0, 400)
        for _ in range(rng.choice([3, 25, 120])):
            pitch, length = rng.randrange(36, 84), rng.choice([0, 1, 30, 110, 700, 2500])
            rows.append((at, mido.Message("note_on", channel=channel, note=pitch, velocity=rng.randrange(1, 128))))
            rows.append((at + length, mido.Message("note_off", channel=channel, note=pitch)))
            if rng.random() < 0.1:
                down = at + rng.randrange(0, 200)
                rows.append((down, mido.Message("control_change", channel=channel, control=64, value=100)))
                rows.append((down + rng.randrange(100, 900), mido.Message("control_change", channel=channel, control=64, value=0)))
            if rng.random() < 0.05:
                rows.append((at, mido.Message("program_change", channel=channel, program=rng.randrange(128))))
            at += rng.choice([0, 0, 13, 60, 110, 330, 2600])
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(rows, key=lambda row: row[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        track.append(mido.MetaMessage("end_of_track", time=rng.choice([0, 0, 700, 5000])))
        file.tracks.append(track)
    return file


def edge_song(length_s: float) -> mido.MidiFile:
    """One note that ends exactly after ``length_s``, and one across each window's edge."""
    file = mido.MidiFile(ticks_per_beat=500)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)])
    track.append(mido.Message("note_on", note=60, velocity=90))
    track.append(mido.Message("note_off", note=60, time=round(length_s * 1000)))
    file.tracks.append(track)
    return file


def make_songs(processor: MidiProcessor) -> None:
    folder = HERE / "songs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    songs = {f"random{k:02d}": song(k) for k in range(24)} | {f"edge{k}": edge_song(s) for k, s in enumerate([5.12, 5.119, 5.1, 10.24])}
    tokens = {}
    for name, file in songs.items():
        file.save(folder / f"{name}.mid")
        tokens[name] = [[int(t) for t in window if t] for window in processor(str(folder / f"{name}.mid"))]
    (HERE / "tokens.json").write_text(json.dumps(tokens, separators=(",", ":")) + "\n")


def pipeline(size: str) -> SpectrogramDiffusionPipeline:
    """A random checkpoint, its weights spread so that every part matters."""
    torch.manual_seed(len(size))
    common = {"dropout_rate": 0.1, **SIZES[size]}
    encoder = {**common, "feed_forward_proj": "gated-gelu"}
    parts = (
        SpectrogramNotesEncoder(max_length=2048, vocab_size=1536, **encoder),
        SpectrogramContEncoder(input_dims=128, targets_context_length=256, **encoder),
        T5FilmDecoder(input_dims=128, targets_length=256, max_decoder_noise_time=20000.0, **common),
    )
    for part in parts:
        for name, weight in part.named_parameters():
            if "layer_norm" in name or "decoder_norm" in name:
                weight.data = 1 + 0.2 * torch.randn_like(weight)
            elif "position" in name or "embedder" in name:
                weight.data = torch.randn_like(weight).half().float()
            else:
                weight.data = torch.randn_like(weight) / weight.shape[-1] ** 0.5
        part.eval()
    return SpectrogramDiffusionPipeline(*parts, DDPMScheduler(**PUBLISHED), melgan=None)


def make_checkpoints() -> None:
    """Two checkpoints, one of each weight format, and the mel that the pipeline makes with them."""
    tokens = json.loads((HERE / "tokens.json").read_text())
    outputs = {}
    for size in SIZES:
        pipe = pipeline(size)
        pipe.set_progress_bar_config(disable=True)
        folder = HERE / "checkpoints" / size
        shutil.rmtree(folder, ignore_errors=True)
        pipe.save_pretrained(folder, safe_serialization=size == "narrow")
        for name in ("random02", "edge1"):
            windows = [w + [0] * (2048 - len(w)) for w in tokens[name][:3]]
            for steps in (3, 10):
                generator = torch.Generator().manual_seed(steps)
                mel = pipe(windows, generator=generator, num_inference_steps=steps, output_type="mel").audios
                outputs[f"{size}.{name}.{steps}"] = mel[:, ::7].astype(np.float32)
    np.savez_compressed(HERE / "mels.npz", **outputs)


def make_schedulers() -> None:
    """Trajectories of the schedulers with a stand-in for the network."""
    variants = {
        "published": PUBLISHED,
        "linear_small": {"beta_schedule": "linear", "variance_type": "fixed_small", "clip_sample": False},
        "scaled_linear_trailing": {"beta_schedule": "scaled_linear", "timestep_spacing": "trailing", "clip_sample_range": 2.0},
        "v_linspace": {**PUBLISHED, "prediction_type": "v_prediction", "timestep_spacing": "linspace"},
        "sample_offset": {**PUBLISHED, "prediction_type": "sample", "steps_offset": 1, "variance_type": "fixed_small_log"},
        "zero_snr": {**PUBLISHED, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
        "threshold": {**PUBLISHED, "thresholding": True, "sample_max_value": 1.5},
    }
    kinds = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "dpmsolver++": DPMSolverMultistepScheduler}
    outputs, configs = {}, {}
    for variant, options in variants.items():
        config = DDPMScheduler(**options).config
        configs[variant] = {k: v for k, v in config.items() if not k.startswith("_")}
        for kind, cls in kinds.items():
            for steps in (1, 2, 7, 20):
                scheduler = cls.from_config(configs[variant])
                scheduler.set_timesteps(steps)
                generator = torch.Generator().manual_seed(11)
                x = torch.randn(1, 16, 8, generator=generator)
                for t in scheduler.timesteps:
                    output = torch.tanh(x * (1 + t / 500)) * 0.8 + 0.1
                    x = scheduler.step(output, t, x, generator=generator).prev_sample
                outputs[f"{variant}/{kind}/{steps}"] = x.numpy()
    np.savez_compressed(HERE / "schedulers.npz", **outputs)
    (HERE / "schedulers.json").write_text(json.dumps(configs, indent=1) + "\n")


if __name__ == "__main__":
    make_songs(MidiProcessor())
    make_checkpoints()
    make_schedulers()
