"""Colours, dynamics and details bring single notes nearer to their renderings: those that were fitted, and other notes of the same keys."""

import copy
import math
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from specdiffd.base.errors import Interrupted
from specdiffd.base.formats import FORMATS
from specdiffd.instruments.loading import load_builtin_family
from specdiffd.prior.config import BAND, COLOUR_AGES_S, COLOURED, DETAIL_AGES_S, DRUM_PROGRAM, DYNAMICS, PATTERNS
from specdiffd.prior.gains import detail_gains, interpolation_weights
from specdiffd.prior.network import NotePrior
from specdiffd.prior.texture import NEXT_FRAME
from specdiffd.reference.fluid import FluidRenderer
from specdiffd.train import colours, key_frames
from specdiffd.train.colours import fit_colours
from specdiffd.train.key_fit import KeyFrames, fit_details, fit_key, patterns_of
from specdiffd.train.least_absolute import least_absolute, least_absolute_between

FORMAT = FORMATS["full-band"]
FLOOR = FORMAT.log_floor
ROUGH = 0.1


@pytest.fixture(scope="module")
def prior() -> NotePrior:
    """The built-in note prior with empty gain tables."""
    prior = copy.deepcopy(load_builtin_family("builtin").prior)
    prior.colours.weight.zero_()
    prior.dynamics.weight.zero_()
    prior.unrest.weight.zero_()
    prior.details.zero_()
    return prior


NONE = torch.zeros(1, 8)  # patterns: no details


def test_weights_are_those_of_linear_interpolation() -> None:
    places = torch.tensor([-9.0, 0.0, 0.5, 1.0, 2.5, 3.0, 9.0])
    points = (0.0, 1.0, 3.0)
    line = torch.tensor([5.0, 7.0, 1.0])
    assert torch.allclose(interpolation_weights(places, points) @ line, torch.tensor([5.0, 5.0, 6.0, 7.0, 2.5, 1.0, 1.0]))


def test_a_few_wrong_frames_do_not_move_the_fit() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = interpolation_weights(torch.linspace(-0.04, 2, 400), COLOUR_AGES_S)
    wanted = torch.randn(len(COLOUR_AGES_S), 8, generator=generator)
    error = basis @ wanted
    wrong = torch.rand(error.shape, generator=generator) < 0.15
    found = least_absolute(basis, error + 3.0 * wrong, torch.ones_like(error), torch.zeros_like(error, dtype=torch.bool))
    assert float((basis @ (found - wanted)).abs().mean()) < 0.1


def single_notes(change: torch.Tensor, predicted: float) -> KeyFrames:
    """Frames of five velocities whose target is the prediction plus ``change`` (frames, mel)."""
    age_s, velocity = torch.linspace(-0.04, 2, 100).repeat(5), torch.tensor(DYNAMICS).repeat_interleave(100)
    before = torch.full_like(change, predicted)
    return KeyFrames((before + change).clamp_min(FLOOR), before, torch.full_like(change, ROUGH), age_s, velocity)


def test_the_error_of_a_key_is_found() -> None:
    generator = torch.Generator().manual_seed(1)
    wanted = torch.randn(len(COLOUR_AGES_S), 40, generator=generator)
    louder = torch.randn(len(DYNAMICS), 40 // BAND, generator=generator).repeat_interleave(BAND, 1)
    empty = single_notes(torch.zeros(500, 40), -3.0)
    bases = interpolation_weights(empty.age_s, COLOUR_AGES_S), interpolation_weights(empty.velocity, DYNAMICS)
    change = bases[0] @ wanted + bases[1] @ louder
    fit = fit_key(single_notes(change, -3.0), FLOOR, NONE)
    assert fit.error_before > 0.5
    assert fit.error_after < 0.05
    found = bases[0] @ fit.colours + bases[1] @ fit.dynamics.repeat_interleave(BAND, 1)
    assert float((found - change).abs().mean()) < 0.05


def test_any_prediction_below_the_floor_fits_silence() -> None:
    """Nothing changes where the prediction is silent too. A louder prediction becomes soft enough, also for velocities between the fitted ones."""
    for predicted, least in ((FLOOR - 5, 0.0), (FLOOR + 2, 1.0)):
        fit = fit_key(single_notes(torch.full((500, 40), -9.0), predicted), FLOOR, NONE)
        assert fit.error_before == pytest.approx(max(0.0, predicted - FLOOR), abs=1e-5)
        assert fit.error_after < 0.1
        most = max(float(row.abs().max()) for row in fit.rows)
        assert most >= least
        assert (most == 0) == (least == 0)


@pytest.mark.parametrize("rough", [0.05, 0.3])
def test_unrest_brings_the_roughness_to_the_deviation_of_the_changes(rough: float) -> None:
    """Each band by itself: half of the bands do not change at all."""
    noise = torch.randn(500, 40, generator=torch.Generator().manual_seed(2)) * math.sqrt(1 - NEXT_FRAME)
    unrest = fit_key(single_notes(rough * noise * (torch.arange(40) < 20), -3.0), FLOOR, NONE).unrest
    assert unrest[:5].exp().mean() * ROUGH == pytest.approx(rough, rel=0.15)
    assert float(unrest[5:].exp().max()) * ROUGH < 0.02


@pytest.mark.parametrize(("program", "key"), [(60, 58), (0, 30), (DRUM_PROGRAM, 49)])
def test_other_notes_of_the_key_come_nearer(prior: NotePrior, program: int, key: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are softer and louder, shorter and longer than the notes that were fitted."""
    renderer = FluidRenderer()
    row = program * len(COLOURED) + key - COLOURED.start
    fitted, coloured = copy.deepcopy(prior), copy.deepcopy(prior)
    for p, patterns in ((fitted, prior.patterns), (coloured, torch.zeros(1, 8))):
        fit = fit_key(key_frames.key_frames(renderer, FORMAT, prior, program, key), FLOOR, patterns)
        for table, row_fit in zip((p.colours.weight, p.dynamics.weight, p.details, p.unrest.weight), fit.rows, strict=True):
            table[row] = row_fit
    monkeypatch.setattr(key_frames, "NOTES", ((28, 0.8), (58, 0.4), (86, 1.5), (114, 0.3)))
    before, without_details, after = (
        float((notes.predicted.clamp_min(FLOOR) - notes.target).abs().mean())
        for notes in (key_frames.key_frames(renderer, FORMAT, p, program, key) for p in (prior, coloured, fitted))
    )
    assert without_details < 0.9 * before
    assert after < 0.95 * without_details


def test_details_are_the_error_at_each_age() -> None:
    """Smooth errors are found although some frames are outliers. An age without frames gets the value of its neighbours."""
    generator = torch.Generator().manual_seed(3)
    age_s = torch.rand(1200, generator=generator) * 2 - 0.05
    age_s = age_s[(age_s < 0.3) | (age_s > 0.32)]
    wanted = torch.sin(torch.tensor(DETAIL_AGES_S)[:, None] * torch.arange(2, 10))
    error = interpolation_weights(age_s, DETAIL_AGES_S) @ wanted
    wrong = torch.rand(error.shape, generator=generator) < 0.1
    found = least_absolute_between(
        age_s, DETAIL_AGES_S, error + 3.0 * wrong, torch.ones_like(error), torch.zeros_like(error, dtype=torch.bool)
    )
    assert float((found - wanted).abs().mean()) < 0.1


def test_patterns_are_the_clusters_of_the_details() -> None:
    generator = torch.Generator().manual_seed(4)
    kinds = torch.randn(20, 8, generator=generator)
    details = kinds[torch.randint(20, (4000,), generator=generator)] + 0.01 * torch.randn(4000, 8, generator=generator)
    found = patterns_of(details)
    assert found.shape == (PATTERNS, 8)
    assert not found[0].any()
    assert float(torch.cdist(kinds, found).min(1).values.max()) < 0.05


def test_codes_of_a_key_stand_for_its_details() -> None:
    """If the same pattern is missing everywhere, each code is that pattern."""
    patterns = torch.stack((torch.zeros(8), torch.tensor([0.5, -0.5, 0.25, -0.25]).repeat(2)))
    alternating = detail_gains(patterns[torch.ones(1, len(DETAIL_AGES_S) // 2 * 10, dtype=torch.int64)])[0]
    notes = single_notes(torch.zeros(500, 40), -3.0)
    notes = notes._replace(target=notes.target + interpolation_weights(notes.age_s, DETAIL_AGES_S) @ alternating)
    details = fit_details(notes, FLOOR, torch.zeros(len(COLOUR_AGES_S), 40), torch.zeros(len(DYNAMICS), 10))
    assert float((torch.cdist(details, patterns).argmin(1) == 1).float().mean()) == 1.0


def test_a_run_goes_on_where_its_time_was_over(prior: NotePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colours, "SAMPLED", (64, 1))
    start = copy.deepcopy(prior)
    fit_colours(tmp_path, copy.deepcopy(prior), FORMAT, "fluid", minutes=1e-6, workers=1)
    first = torch.load(tmp_path / "state.pt", weights_only=True)
    assert first["programs"] == 1
    fit_colours(tmp_path, start, FORMAT, "fluid", minutes=first["used_s"] / 60 + 1e-6, workers=1)
    second = torch.load(tmp_path / "state.pt", weights_only=True)
    assert second["programs"] == 2
    has_colours = second["average"]["colours.weight"].view(DRUM_PROGRAM + 1, -1).any(1)
    assert has_colours.tolist() == [True, True] + [False] * (DRUM_PROGRAM - 1)
    assert torch.equal(*(s["average"]["colours.weight"][: len(COLOURED)] for s in (first, second)))


@pytest.mark.parametrize(
    ("message", "expected", "programs"),
    [("program %d", r"stopped after \d+ of 129 programs; run again to go on", 1), (None, "stopped after a sample of .* programs", 0)],
    ids=["programs", "sample"],
)
def test_a_signal_ends_a_run_after_its_state_is_saved(
    prior: NotePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str | None, expected: str, programs: int
) -> None:
    """Its worker processes end with it."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(colours, "SAMPLED", (64, 1) if message else (2, 2))
    if message:
        monkeypatch.setattr(colours.log, "info", lambda text, *_: text.startswith(message) and os.kill(os.getpid(), signal.SIGTERM))
    else:
        threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Interrupted, match=expected):
        fit_colours(tmp_path, copy.deepcopy(prior), FORMAT, "fluid", minutes=10, workers=1)
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)
    assert (tmp_path / "state.pt").exists() == (programs > 0)
    if programs:
        assert torch.load(tmp_path / "state.pt", weights_only=True)["programs"] >= programs
    assert not multiprocessing.active_children()
