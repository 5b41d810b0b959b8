"""Published checkpoints against the public code's results (tests/goldens/make.py), and its quirks: which side we are on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_decoder import save_decoder
from torch import Tensor
from typer.testing import CliRunner

from specdiffd import cli
from specdiffd.base.errors import CheckpointError
from specdiffd.base.events import Note, Performance
from specdiffd.base.formats import MelFormat
from specdiffd.base.instrument import RenderSettings, render
from specdiffd.diffusion.config import EncoderConfig
from specdiffd.diffusion.encoders import ContextEncoder
from specdiffd.instruments.layout import PICKLED_WEIGHTS, WEIGHTS
from specdiffd.instruments.loading import load_instrument
from specdiffd.instruments.published import PublishedInstrument
from specdiffd.midi.published import published_performance
from specdiffd.tokens.codec import EOS, Codec
from specdiffd.tokens.window import song_windows
from specdiffd.vocoder.onnx import OnnxVocoder

GOLDENS = Path(__file__).parents[1] / "goldens"
TOKENS = json.loads((GOLDENS / "tokens.json").read_text())
MELS = np.load(GOLDENS / "mels.npz")
FORMAT, CODEC = MelFormat(), Codec()
TIE = CODEC.tie


def checkpoint(size: str, **settings: object) -> PublishedInstrument:
    loaded = load_instrument(str(GOLDENS / "checkpoints" / size), "cpu", "float32", RenderSettings(**settings))  # type: ignore[arg-type]
    assert isinstance(loaded, PublishedInstrument)
    return loaded


def note(onset_s: float, pitch: int, offset_s: float, program: int = 0) -> Note:
    return Note(onset_s, pitch, 90, program, 0, False, offset_s)


def ids(*notes: Note, length_s: float = 0.0) -> list[list[int]]:
    return [w.ids for w in song_windows(Performance(notes, {}, length_s), FORMAT, 256, CODEC)]


# -- tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_are_those_of_the_public_code(name: str) -> None:
    """Token for token, except that nothing is tied once the song is over (quirk a)."""
    performance = published_performance(GOLDENS / "songs" / f"{name}.mid")
    found = [w.ids for w in song_windows(performance, FORMAT, 256, CODEC)]
    assert len(found) == len(TOKENS[name])
    last_s = max([n.onset_s for n in performance.notes] + [n.offset_s for n in performance.notes if not n.is_drum], default=0)
    for k, (mine, theirs) in enumerate(zip(found, TOKENS[name], strict=True)):
        assert mine == ([TIE, EOS] if round(last_s * 100) < 512 * k else theirs), f"window {k}"


def test_the_tokens_command_gives_them(tmp_path: Path) -> None:
    song, size = str(GOLDENS / "songs" / "random00.mid"), str(GOLDENS / "checkpoints" / "narrow")
    result = CliRunner().invoke(cli.app, ["tokens", song, "-m", size, "--json"], catch_exceptions=False)
    assert json.loads(result.stdout) == TOKENS["random00"]


def test_quirk_a_no_note_is_tied_after_the_last_event() -> None:
    """The public code lists the notes that sounded before the last event, though they have ended. We do not."""
    assert ids(note(0.0, 60, 1.0), length_s=6.0)[1] == [TIE, EOS]


def test_quirk_b_a_note_that_ends_on_an_edge_is_tied_and_ended() -> None:
    """As in the public code: checkpoints were trained with it."""
    assert ids(note(0.0, 60, 5.12), length_s=5.12)[1] == [CODEC.program_base, CODEC.pitch_base + 60, TIE, 1132, CODEC.pitch_base + 60, EOS]


def test_quirk_c_overlapping_notes_of_one_pitch_share_one_state() -> None:
    """As in the public code: the first end ends both, and the second end is written too."""
    overlapping = ids(note(0.0, 60, 2.0), note(1.0, 60, 7.0))
    assert overlapping[0].count(CODEC.pitch_base + 60) == 3
    assert overlapping[1] == [TIE, CODEC.shift(188), CODEC.program_base, 1132, CODEC.pitch_base + 60, EOS]


def test_quirk_d_too_many_tokens_are_counted() -> None:
    """The public code crashes. We keep the newest events."""
    notes = [note(0.01 * (k % 500), 20 + k % 100, 0.01 * (k % 500) + 0.003) for k in range(1500)]
    (window,) = song_windows(Performance(notes, {}), FORMAT, 256, CODEC)
    assert len(window.ids) <= 2048
    assert window.dropped_events > 0
    assert window.ids[-1] == EOS


# -- networks and samplers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MELS.files)
def test_mels_are_those_of_the_public_pipeline(name: str) -> None:
    size, song, steps = name.split(".")
    instrument = checkpoint(size, steps=int(steps), seed=int(steps))
    wanted = MELS[name][0]
    mels: list[Tensor] = []
    for stretch in instrument.song(published_performance(GOLDENS / "songs" / f"{song}.mid")):
        mels.append(stretch.mel)
        if len(mels) == 3:
            break
    found = torch.cat(mels).numpy()[::7][: len(wanted)]
    assert np.abs(found - wanted).max() < 1e-3


def test_the_render_command_writes_the_mel(tmp_path: Path) -> None:
    words = ["render", str(GOLDENS / "songs" / "edge1.mid"), "-o", str(tmp_path / "o.wav"), "-m", str(GOLDENS / "checkpoints" / "wide")]
    words += ["--scheduler", "ddpm", "--steps", "3", "--seed", "3", "--guidance", "1", "--device", "cpu", "--dtype", "float32"]
    result = CliRunner().invoke(cli.app, [*words, "--mel", str(tmp_path / "mel.npy")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    mel = np.load(tmp_path / "mel.npy")
    assert mel.shape == (1, 256, 128)
    assert mel.dtype == np.float32
    assert np.abs(mel[:, ::7] - MELS["wide.edge1.3"]).max() < 1e-3
    assert (tmp_path / "o.wav").stat().st_size > 44


@pytest.mark.parametrize("scheduler", ["ddim", "dpmsolver++"])
def test_other_schedulers_and_guidance_change_the_sound(scheduler: str) -> None:
    performance = published_performance(GOLDENS / "songs" / "edge1.mid")

    def mel(**settings: object) -> Tensor:
        return next(checkpoint("narrow", steps=4, **settings).song(performance)).mel

    plain = mel(scheduler=scheduler)
    assert torch.isfinite(plain).all()
    assert not torch.equal(plain, mel())
    assert not torch.equal(plain, mel(scheduler=scheduler, guidance=2.0))
    assert torch.equal(plain, mel(scheduler=scheduler, guidance=1.0))


def test_guidance_leaves_out_notes_and_context_whole() -> None:
    """Weight 0 is the unconditional network: it must not depend on the notes. A mask alone would let them in evenly."""
    songs = [Performance([note(0.1, pitch, 3.0)], {}) for pitch in (40, 80)]
    none = [next(checkpoint("narrow", steps=3, guidance=0.0).song(p)).mel for p in songs]
    full = [next(checkpoint("narrow", steps=3).song(p)).mel for p in songs]
    assert torch.equal(*none)
    assert not torch.equal(*full)


def test_context_positions_count_from_the_end() -> None:
    """The public code rolls the positions of a short context along the wrong axis, which does nothing. Training did not."""
    config = EncoderConfig(d_model=12, num_layers=1, num_heads=2, d_kv=4, d_ff=9, input_dims=5, targets_context_length=8)
    torch.manual_seed(0)
    encoder = ContextEncoder(config)
    frames = torch.randn(1, 8, 5)
    masked = encoder(frames, torch.tensor([[False] * 5 + [True] * 3]))[:, 5:]
    torch.testing.assert_close(encoder(frames[:, 5:]), masked, atol=1e-6, rtol=0)


def test_padding_can_be_dropped() -> None:
    encoder = checkpoint("narrow").notes_encoder
    tokens = torch.tensor([TOKENS["random00"][0]])
    padded = torch.nn.functional.pad(tokens, (0, 60))
    found = encoder(padded, padded > 0)[:, : tokens.shape[1]]
    torch.testing.assert_close(encoder(tokens), found, atol=2e-5, rtol=0)


def test_what_can_be_computed_once_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-attention keys and values once per window and layer, FiLM tables once per schedule; without padding."""
    instrument = checkpoint("narrow", steps=4)
    counted, schedules = [], []
    for layer in instrument.decoder.decoders:
        attention = layer.cross.attention
        monkeypatch.setattr(attention, "keys_values", lambda e, made=attention.keys_values: counted.append(e.shape[1]) or made(e))
    monkeypatch.setattr(instrument.decoder, "schedule", lambda t, made=instrument.decoder.schedule: schedules.append(len(t)) or made(t))
    performance = published_performance(GOLDENS / "songs" / "edge1.mid")
    windows = list(song_windows(performance, FORMAT, 256, CODEC))
    list(instrument.song(performance))
    context = [0] + [256] * (len(windows) - 1)
    layers = len(instrument.decoder.decoders)
    assert counted == [len(w.ids) + n for w, n in zip(windows, context, strict=True) for _ in range(layers)]
    assert schedules == [4]


def test_a_vocoder_of_its_own_is_used(copy: Path) -> None:
    """Window after window equals the whole song's mel at once, both ends included."""
    (copy / "melgan").mkdir()
    save_decoder(copy / "melgan" / "model.onnx", past=7, future=3)
    edit(copy / "model_index.json", melgan=["diffusers", "OnnxRuntimeModel"])
    instrument = load_instrument(str(copy), "cpu", "float32", RenderSettings(steps=2))
    assert isinstance(instrument, PublishedInstrument)
    assert isinstance(instrument.vocoder, OnnxVocoder)
    pieces = list(instrument.song(published_performance(GOLDENS / "songs" / "edge3.mid")))
    assert [p.first_sample for p in pieces] == [0, *np.cumsum([len(p.audio) for p in pieces])[:-1]]
    whole = instrument.vocoder._run(torch.cat([p.mel for p in pieces])[None])[0]
    torch.testing.assert_close(torch.cat([p.audio for p in pieces]), whole, atol=1e-5, rtol=0)


# -- live --------------------------------------------------------------------------------------------------------


def test_live_windows_keep_what_was_heard() -> None:
    instrument = checkpoint("narrow", steps=2)
    performance = Performance([note(0.1, 60, 3.0), note(1.0, 67, 3.0)], {})
    state = instrument.start(0, 1)
    for at in range(0, 320, 64):
        rendered, state = render(instrument, [performance], state, at, 64)
        assert rendered.audio.shape == (1, 64 * 320)
    assert state.next_frame == 320
    more = Performance([*performance.notes, note(5.9, 72, 7.0)], {})
    revised, after = render(instrument, [more], state, 300, 24)
    assert revised.mel is not None
    assert torch.equal(after.mel[:, : 300 - after.first_frame], state.mel[:, : 300 - state.first_frame])
    again, _ = render(instrument, [more], state, 300, 24)
    assert np.array_equal(again.audio, revised.audio)


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(GOLDENS / "checkpoints" / "narrow", tmp_path / "copy")
    return tmp_path / "copy"


def edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionPipeline"}, "_class_name is 'StableDiffusionPipeline'"),
        ("model_index.json", {"decoder": None}, "component decoder is missing"),
        ("model_index.json", {"unet": ["diffusers", "UNet"]}, "unknown component 'unet'"),
        ("model_index.json", {"decoder": ["diffusers", "UNet"]}, "expected a pair of library and class, T5FilmDecoder"),
        ("decoder/config.json", {"d_model": "24"}, r"Expected `int`, got `str` - at `\$\.d_model`"),
        ("decoder/config.json", {"d_model": 26}, r"d_model 24, expected 26 as in the decoder"),
        ("decoder/config.json", {"num_layers": 10**9}, "num_layers 1000000000: expected 1 to 256"),
        ("decoder/config.json", {"num_layers": 3}, r"key decoders\.2\..* is missing, expected with shape"),
        ("decoder/config.json", {"input_dims": 80}, "input_dims 80, expected 128 mel bins"),
        ("notes_encoder/config.json", {"feed_forward_proj": "relu"}, "expected gated-gelu"),
        ("notes_encoder/config.json", {"vocab_size": 1000}, "the codec has 1391 ids"),
        ("scheduler/scheduler_config.json", {"_class_name": "x", "beta_schedule": "cosine"}, "expected one of linear"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 50}, "100 steps: expected 1 to 50"),
    ],
)
def test_wrong_configs_are_named(copy: Path, file: str, changes: dict[str, object], says: str) -> None:
    edit(copy / file, **changes)
    with pytest.raises(CheckpointError, match=says):
        load_instrument(str(copy), "cpu", "float32")


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path) -> None:
    shutil.copytree(GOLDENS / "checkpoints" / "wide", tmp_path / "copy")

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",)

    torch.save({"x": Evil()}, tmp_path / "copy" / "decoder" / PICKLED_WEIGHTS)
    with pytest.raises(CheckpointError, match="damaged or holds more than weights"):
        load_instrument(str(tmp_path / "copy"), "cpu", "float32")
    assert not (tmp_path / "owned").exists()


def test_missing_weights_are_named(copy: Path) -> None:
    (copy / "decoder" / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"decoder.*safetensors is missing"):
        load_instrument(str(copy), "cpu", "float32")


def test_unknown_schedulers_are_named() -> None:
    with pytest.raises(CheckpointError, match="scheduler 'euler': expected one of ddpm, ddim"):
        checkpoint("narrow", scheduler="euler")
    with pytest.raises(CheckpointError, match="has its own, called flow"):
        load_instrument("builtin", settings=RenderSettings(scheduler="ddpm"))
    with pytest.raises(CheckpointError, match="only 1 is possible"):
        load_instrument("builtin", settings=RenderSettings(guidance=2.0))
