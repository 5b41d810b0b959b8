"""The note prior as it plays is the note prior, and what only playing has."""

import math

import pytest
import torch
from test_prior import CONFIG, features, played

from specdiffd.base.events import Performance
from specdiffd.base.formats import NO_GUIDE
from specdiffd.base.mel_scale import hz_to_mel, mel_to_hz
from specdiffd.prior.mixing import mean_roughness, summed
from specdiffd.prior.mixing_kernels import OVER_LOUDEST_NEPERS
from specdiffd.prior.network import NotePrior
from specdiffd.prior.playing import PlayedPrior


@pytest.fixture
def prior() -> NotePrior:
    torch.manual_seed(0)
    prior = NotePrior(CONFIG).eval().requires_grad_(False)
    for layer in (prior.harmonics, prior.spectrum, prior.roughness, prior.recall, prior.recall_roughness):
        torch.nn.init.normal_(layer.weight, std=1.0)
    for table in (prior.colours, prior.dynamics, prior.unrest):
        torch.nn.init.normal_(table.weight, std=0.3)
    torch.nn.init.normal_(prior.patterns, std=0.3)
    prior.details.random_(256)
    return prior


@pytest.fixture
def playing(prior: NotePrior) -> PlayedPrior:
    return PlayedPrior(prior)


CONTROLLED = played(
    (0.0, 0xC0, 40, 0),
    (0.0, 0xB0, 64, 127),
    (0.0, 0xB0, 1, 90),
    (0.0, 0xB0, 11, 60),
    (0.05, 0x90, 62, 100),
    (0.1, 0x90, 66, 20),
    (0.1, 0x99, 42, 80),
    (0.2, 0xE0, 0, 0x60),
    (0.25, 0x99, 46, 80),
    (0.3, 0x99, 42, 127),
    (0.4, 0x80, 62, 0),
)
# Short notes of many programs, whose ends ring on; some rise at first.
RINGING = played(
    *((0.0, 0xC0 | k, 8 * k, 0) for k in range(8)),
    *((0.01 * k, 0x90 | k, 50 + k, 100) for k in range(8)),
    *((0.1 + 0.03 * k, 0x80 | k, 50 + k, 0) for k in range(8)),
)


def test_it_is_the_note_prior(prior: NotePrior, playing: PlayedPrior, performance: Performance, monkeypatch: pytest.MonkeyPatch) -> None:
    """With new and cached timbres, with more notes than the table has rows, and with every controller of a note."""
    monkeypatch.setattr(PlayedPrior, "KEPT", 1)
    tight = PlayedPrior(prior)
    for score in (performance, CONTROLLED, RINGING):
        for first in (0, 10, 20, 10):
            x = features(score, first)
            assert torch.allclose(playing(x).mel, prior(x), atol=2e-3)
            assert torch.allclose(tight(x).mel, prior(x), atol=2e-3)
    assert float(prior(features(CONTROLLED)).std()) > 0.5
    assert set(prior.timbres(features(RINGING)).sustain.slow_attack.tolist()) == {False, True}


def test_texture_is_the_notes_own_noise_as_rough_as_they_are(prior: NotePrior) -> None:
    """Each note's noise is weighted by its share of the rough power, so that the sum has the notes' roughness; silence has no texture."""
    x = features(CONTROLLED)
    rows = torch.arange(x.active.numel()).view(x.active.shape)
    noise = torch.randn(x.active.numel(), CONFIG.mel_bins, generator=torch.Generator().manual_seed(0))
    heard = PlayedPrior(prior, noise)(x, rows)
    notes = prior.contributions(x)
    drawn, squares, total = (
        summed(y, notes.frame, x.active.shape[1])
        for y in (notes.rough_power * noise[rows[x.active]], notes.rough_power.square(), notes.power)
    )
    roughness = mean_roughness(notes.power, notes.rough_power, notes.frame, prior.beats, total, CONFIG.log_floor)
    mixed = drawn / (squares + math.exp(4 * CONFIG.log_floor)).sqrt()
    fresh = summed(notes.power * (x.age_s[x.active] < CONFIG.window_s)[:, None], notes.frame, x.active.shape[1])
    loudest, where = heard.mel.max(1, keepdim=True)
    old = 1 - (fresh / (total + math.exp(2 * CONFIG.log_floor))).gather(1, where)
    assert 0 < float(old.mean()) < 1
    free, most = roughness * mixed, loudest + float(OVER_LOUDEST_NEPERS) * old - heard.mel
    assert torch.allclose(heard.texture, torch.minimum(free, most), atol=2e-3)
    assert 0 < float((free > most).float().mean()) < 0.1
    assert float(heard.texture.std()) > 0.05
    assert not PlayedPrior(prior, noise)(features(played())).texture.any()
    assert not PlayedPrior(prior)(x).texture.any()


def test_guide_points_at_the_partials(playing: PlayedPrior) -> None:
    x = features(played((0.0, 0x90, 69, 100)))
    found = playing(x).guide[20]
    where = hz_to_mel(440.0) / CONFIG.mels_per_bin - 1
    nearest = round(where)
    assert found[nearest, 1] > NO_GUIDE[1]
    assert found[nearest, 0] == pytest.approx(where - nearest, abs=0.02)
    assert found[nearest + 3, :2].tolist() == pytest.approx(NO_GUIDE[:2])


def test_the_modulation_wheel_is_vibrato_in_the_guide(playing: PlayedPrior) -> None:
    """Half a semitone up and down, 8.176 times a second from the onset on; half of that for half a wheel, none for none."""

    def semitones(wheel: int) -> torch.Tensor:
        x = features(played((0.0, 0xB0, 1, wheel), (0.0, 0x90, 69, 100)))
        guide = playing(x).guide[4:34]
        sounding = [22 + int(frame[22:28, 1].argmax()) for frame in guide]  # the fundamental
        mels = torch.tensor([(m + float(frame[m, 0]) + 1) * CONFIG.mels_per_bin for m, frame in zip(sounding, guide, strict=True)])
        return 12 * torch.log2(mel_to_hz(mels) / 440)

    age_s = features(played((0.0, 0x90, 69, 100))).age_s[0, 4:34] + CONFIG.window_s / 2
    turns = 8.176 * age_s
    triangle = 1 - 4 * ((turns + 0.25) % 1 - 0.5).abs()
    still = semitones(0)
    assert float(triangle.abs().max()) > 0.9
    assert float((semitones(127) - still - 0.5 * triangle).abs().max()) < 0.03
    assert float((semitones(64) - still - 0.5 * 64 / 127 * triangle).abs().max()) < 0.03
    assert float(still.std()) < 1e-4


def test_guide_tells_how_much_of_a_frame_lies_behind_an_onset(playing: PlayedPrior) -> None:
    """With an onset in the middle of its 40 ms, half of a window has elapsed; bins where an older note is louder have more."""
    at_s = 10 * 0.02 + 0.02
    found = playing(features(played((at_s, 0x90, 69, 100)))).guide
    assert found[8, :, 2].min() == 1  # nothing sounds yet
    assert found[10, :, 2].min() == pytest.approx(0.5, abs=0.01)
    assert found[12, :, 2].min() == pytest.approx(1.0, abs=0.01)
    earlier = playing(features(played((0.0, 0x90, 69, 127), (at_s, 0x90, 69 + 24, 1)))).guide
    assert earlier[10, :, 2].max() > 0.9


def test_guide_tells_where_in_a_window_a_note_begins_and_how_much_of_the_power_is_its(playing: PlayedPrior) -> None:
    at_s = 10 * 0.02 + 0.013
    found = playing(features(played((at_s, 0x90, 69, 100)))).guide
    loud = found[10, :, 1].argmax()
    assert found[10, loud, 3:].tolist() == pytest.approx([1.0, 0.013 / 0.04], abs=0.01)
    assert found[9, loud, 4] == pytest.approx(0.033 / 0.04, abs=0.01)
    assert not found[[8, 11, 12], :, 3:].any()  # not yet, and no more
    over_another = playing(features(played((0.0, 0x90, 69, 100), (at_s, 0x90, 69, 100)))).guide
    assert 0.05 < over_another[10, loud, 3] < 0.95


def test_guide_without_notes(playing: PlayedPrior) -> None:
    found = playing(features(played())).guide
    assert torch.equal(found, torch.tensor(NO_GUIDE).expand(40, 128, 5))


def test_any_number_of_wheels_makes_a_bounded_number_of_timbres(
    prior: NotePrior, playing: PlayedPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight channels are bent in every frame: notes over the limit keep their last timbre, and later calls catch up."""
    wheels = [(0.02 * k, 0xE0 | c, 0, (7 * k + 11 * c) % 128) for k in range(40) for c in range(8)]
    strokes = [(0.01, 0x90 | c, 50 + 3 * c, 100) for c in range(8)]
    x = features(played(*sorted([*strokes, *wheels])))
    made = []
    monkeypatch.setattr(playing.timbres, "make", lambda note, row, make=playing.timbres.make: (made.append(note), make(note, row)))
    monkeypatch.setattr(PlayedPrior, "BENT_PER_FRAME", 1)
    bounded = playing(x).mel
    frames = x.active.shape[1]
    assert len(x.key) > 200
    assert len(made) <= 8 + frames
    assert bool(bounded.isfinite().all())
    monkeypatch.setattr(PlayedPrior, "BENT_PER_FRAME", 8)
    for _ in range(20):  # each time some more
        whole = playing(x).mel
    assert torch.allclose(whole, prior(x), atol=2e-3)


def test_timbres_make_room_for_others_in_the_order_of_use(prior: NotePrior, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlayedPrior, "KEPT", 10)
    playing, made = PlayedPrior(prior), []
    monkeypatch.setattr(
        playing.timbres, "make", lambda note, row, make=playing.timbres.make: (made.append(note.stroke.key), make(note, row))
    )
    for k in range(40):
        x = features(played((0.0, 0x90, 60, 100), (0.0, 0x90, 61 + k, 100)))
        assert torch.allclose(playing(x).mel, prior(x), atol=2e-3)
    assert sorted(made) == [*range(60, 101)]  # the one that is always heard is made once
    assert len(playing.timbres) == 10
    x = features(played(*((0.0, 0x90, 40 + k, 100) for k in range(15))))
    assert torch.allclose(playing(x).mel, prior(x), atol=2e-3)
    assert torch.allclose(playing(features(CONTROLLED)).mel, prior(features(CONTROLLED)), atol=2e-3)
