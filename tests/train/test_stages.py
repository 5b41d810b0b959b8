"""Training as a command: every stage runs and can be resumed, and the result is a checkpoint that plays."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from specdiffd import cli
from specdiffd.base.errors import UsageError
from specdiffd.base.formats import FORMATS
from specdiffd.instruments.layout import BUILTIN, CONFIG, DECODER, PRIOR, STAND_IN, VOCODER, WEIGHTS, read_config
from specdiffd.instruments.loading import load_builtin_family, load_instrument
from specdiffd.train.configs import vocoder_config
from specdiffd.train.loop import Run
from specdiffd.train.stages import STAGES, train
from specdiffd.vocoder.config import VocoderConfig

# of torch.compile, when it is first used
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    checkpoint = train(folder, list(STAGES), [], minutes=0.02, pieces=2, batch=1, adversarial_from=0.0)
    assert checkpoint.is_dir()
    return folder


def test_stages_end_in_a_checkpoint_that_loads(run_folder: Path) -> None:
    """By default with the sizes of the built-in instrument."""
    instrument = load_builtin_family(str(run_folder / "checkpoint"))
    builtin = load_builtin_family("builtin")
    assert instrument.format == builtin.format == FORMATS["full-band"]
    for part in ("decoder", "vocoder", "prior"):
        trained, original = ([p.shape for p in getattr(i, part).parameters()] for i in (instrument, builtin))
        assert trained == original


def test_a_run_is_resumed(run_folder: Path) -> None:
    before = torch.load(run_folder / "prior" / "state.pt", weights_only=True)
    train(run_folder, ["prior"], [], minutes=0.04, pieces=2, batch=1)
    after = torch.load(run_folder / "prior" / "state.pt", weights_only=True)
    assert after["step"] > before["step"] > 0
    assert after["used_s"] > before["used_s"]


def test_a_stage_begins_with_the_weights_of_another_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, ["decoder"], [], minutes=0.001, start=BUILTIN, pieces=1, batch=1)
    trained, original = (load_instrument(str(name)) for name in (tmp_path / "checkpoint", "builtin"))
    assert (tmp_path / "checkpoint" / PRIOR / WEIGHTS).read_bytes() == (BUILTIN / PRIOR / WEIGHTS).read_bytes()
    pairs = zip(trained.decoder.parameters(), original.decoder.parameters(), strict=True)
    assert all(float((a - b).abs().max()) < 0.01 for a, b in pairs)


def test_every_stage_learns_in_the_published_format(tmp_path: Path) -> None:
    """It begins with the weights of another format, those of the same shape."""
    checkpoint = train(
        tmp_path, list(STAGES), [], minutes=0.02, start=BUILTIN, pieces=2, batch=1, adversarial_from=0.0, format_name="published"
    )
    instrument = load_builtin_family(str(checkpoint))
    assert instrument.format == FORMATS["published"]
    started = load_builtin_family("builtin").prior
    assert torch.allclose(instrument.prior.program.weight, started.program.weight, atol=0.1)


def test_the_vocoder_for_published_checkpoints_has_these_sizes(tmp_path: Path) -> None:
    config = read_config(STAND_IN / VOCODER / CONFIG, VocoderConfig)
    assert config == vocoder_config(FORMATS["published"])


@pytest.mark.parametrize("start", [None, BUILTIN])
def test_other_stages_need_the_prior(tmp_path: Path, start: Path | None) -> None:
    """A note prior of another format is of no use."""
    with pytest.raises(UsageError, match="no note prior"):
        train(tmp_path, ["vocoder"], [], minutes=0.01, pieces=1, start=start, format_name="published")


def test_reflow_needs_the_decoder(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder / "prior", tmp_path / "prior")
    with pytest.raises(UsageError, match="no decoder"):
        train(tmp_path, ["reflow"], [], minutes=0.01, pieces=1)


def test_reflow_begins_with_its_teacher_and_keeps_it(run_folder: Path, tmp_path: Path) -> None:
    """Also if the decoder has been trained further since. The checkpoint holds the result of reflow."""
    for stage in ("prior", "decoder", "vocoder"):
        shutil.copytree(run_folder / stage, tmp_path / stage)
    checkpoint = train(tmp_path, ["reflow"], [], minutes=0.001, pieces=1, batch=1)
    teacher = (tmp_path / "reflow" / "teacher" / DECODER / WEIGHTS).read_bytes()
    train(tmp_path, ["decoder"], [], minutes=0.03, pieces=1, batch=1)
    train(tmp_path, ["reflow"], [], minutes=0.002, pieces=1, batch=1)
    assert (tmp_path / "reflow" / "teacher" / DECODER / WEIGHTS).read_bytes() == teacher
    average = torch.load(tmp_path / "reflow" / "state.pt", weights_only=True)["average"]
    stored = load_builtin_family(str(checkpoint), dtype="float32").decoder.state_dict()
    for name, value in stored.items():
        assert torch.allclose(value, average[f"decoder.{name}"], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--format", "mp3"], "unknown format 'mp3'"),
        (["melody"], "unknown stage 'melody'"),
        (["--songs", "SONG", "--held-out", "1"], "leaves none of 1"),
    ],
)
def test_bad_requests(words: list[str], says: str, tmp_path: Path) -> None:
    song = tmp_path / "a.mid"
    song.touch()
    result = CliRunner().invoke(cli.app, ["train", "--run", str(tmp_path), *(str(song) if w == "SONG" else w for w in words)])
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)


def test_run_counts_time_averages_and_logs(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    run = Run(tmp_path, model, {}, minutes=0.005, config={"a": 1})
    for _ in run:
        with torch.no_grad():
            model.weight.fill_(1.0)
        run.note({"loss": 2.0})
    assert run.progress == 1.0
    assert run.decay < 0.03
    assert 0.5 < float(run.average["weight"]) < 1.0
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == 2.0
    again = Run(tmp_path, torch.nn.Linear(1, 1, bias=False), {}, minutes=0.005, config={})
    assert again.step == run.step
    assert list(again) == []
