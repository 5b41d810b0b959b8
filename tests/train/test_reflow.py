"""Reflow: a decoder learns to reach in one step what its teacher reaches in eight."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from specdiffd.base.formats import FORMATS
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import NoteFeatures
from specdiffd.train.configs import decoder_config, encoder_config, prior_config
from specdiffd.train.examples import WindowExample
from specdiffd.train.flow import FlowModel, Teacher

FORMAT = FORMATS["published"]
FRAMES = 32


@pytest.fixture
def model() -> FlowModel:
    """A small decoder whose flow is curved: its weights are random, and its output depends on the time."""
    torch.manual_seed(0)
    small = FlowModel(
        replace(encoder_config(FORMAT), d_model=32, num_layers=1, num_heads=2, d_ff=64),
        replace(decoder_config(FORMAT), d_model=32, num_layers=2, num_heads=2, d_ff=64, stem_channels=2, film_width=32),
    )
    with torch.no_grad():
        for parameter in small.decoder.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return small


@pytest.fixture
def examples() -> list[WindowExample]:
    torch.manual_seed(1)
    mel = torch.full((FRAMES, FORMAT.mel_bins), -5.0)
    none = NoteFeatures(*(torch.zeros(0) for _ in NoteFeatures._fields))
    return [WindowExample(mel, mel[:0], none, [3, 4, 5], [0, 0, 0]) for _ in range(2)]


def endings(teacher: Teacher, examples: list[WindowExample], noise: torch.Tensor) -> torch.Tensor:
    return teacher(noise, torch.zeros_like(noise), examples, FORMAT)


def test_the_teacher_follows_the_flow(model: FlowModel, examples: list[WindowExample]) -> None:
    """Its result depends on the noise, and on nothing else that is random."""
    noise = torch.randn(2, FRAMES, FORMAT.mel_bins)
    first, again = (endings(Teacher(model, 8), examples, noise) for _ in range(2))
    assert torch.equal(first, again)
    other = endings(Teacher(model, 8), examples, -noise)
    assert float((first - other).abs().mean()) > 0.1


def test_one_step_learns_to_end_where_eight_do(model: FlowModel, examples: list[WindowExample], monkeypatch: pytest.MonkeyPatch) -> None:
    prior_mel = torch.zeros(2, FRAMES, FORMAT.mel_bins)
    monkeypatch.setattr("specdiffd.train.flow.prior_batch", lambda *_: FORMAT.unscale(prior_mel))
    prior = NotePrior(prior_config(FORMAT))
    noise = torch.randn(2, FRAMES, FORMAT.mel_bins)
    teacher = Teacher(copy.deepcopy(model).requires_grad_(False), 8)
    wanted = endings(teacher, examples, noise)

    def distance() -> float:
        return float((endings(Teacher(model, 1), examples, noise) - wanted).square().mean())

    before = distance()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        loss, _ = model.loss(examples, prior, FORMAT, rng, "cpu", teacher)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert distance() < 0.7 * before
