import math

import numpy as np
import pytest
import torch

from specdiffd.base.events import Controllers, Event, Note, Performance
from specdiffd.base.formats import MelFormat
from specdiffd.base.mel_scale import hz_to_mel
from specdiffd.dsp.mel import log_mel
from specdiffd.instruments.checkpoint import load_weights
from specdiffd.instruments.layout import BUILTIN, PRIOR, read_config
from specdiffd.instruments.layout import CONFIG as CONFIG_FILE
from specdiffd.midi.score import Score
from specdiffd.prior.config import COLOUR_AGES_S, COLOURED, DETAIL_AGES_S, DETAIL_BINS, PriorConfig
from specdiffd.prior.mixing import mean_roughness, summed
from specdiffd.prior.network import NotePrior
from specdiffd.prior.note_features import NEVER_S, NoteFeatures, note_features
from specdiffd.prior.partials import harmonic_lobes
from specdiffd.prior.playing import PlayedPrior

CONFIG = PriorConfig(shapes=4, harmonics=12, width=32, frame_width=16, memory=8)


@pytest.fixture
def prior() -> NotePrior:
    torch.manual_seed(0)
    return NotePrior(CONFIG).eval().requires_grad_(False)


def features(performance: Performance, first: int = 0, frames: int = 40) -> NoteFeatures:
    return note_features(performance, (first + np.arange(frames)) * 0.02, CONFIG.window_s, CONFIG.ring_s)


def played(*rows: tuple[float, int, int, int]) -> Performance:
    return Score().extend(Event(*r) for r in rows).performance


def test_ages_count_from_the_frames_first_sample() -> None:
    x = features(played((0.105, 0x90, 60, 127), (0.3, 0x80, 60, 0)))
    assert x.age_s[0, 10] == pytest.approx(0.095)
    assert x.release_s[0, 20] == pytest.approx(0.1)
    assert x.choke_s[0, 0] == -NEVER_S
    assert x.active[0].nonzero()[0].item() == 4  # frame 4 covers 0.08 to 0.12 s
    assert x.velocity[0] == 1.0


def test_a_frame_that_ends_at_an_onset_has_nothing_of_the_note(prior: NotePrior) -> None:
    """At any time of a song, however its seconds are rounded: no active note has an age that the networks read as "has not happened"."""
    frames = np.array([*range(2, 400), 5000, 50_000, 500_000])
    for nearest in (-np.inf, np.inf):
        onsets_s = np.concatenate((frames * 0.02, np.nextafter(frames * 0.02, nearest)))
        for first, onset_s in zip(np.tile(frames, 2) - 3, onsets_s, strict=True):
            x = features(Performance([Note(float(onset_s), 60, 100, 0, 0)], {0: Controllers()}), int(first), 4)
            assert torch.equal(x.active, x.age_s > -CONFIG.window_s)
    silent, sounding = prior(features(played((0.6, 0x90, 60, 100)), 28, 2))
    assert silent.eq(CONFIG.log_floor).all()
    assert sounding.max() > CONFIG.log_floor


def test_a_held_note_is_never_released() -> None:
    assert (features(played((0.1, 0x90, 60, 100))).release_s == -NEVER_S).all()


def test_a_bent_note_takes_a_row_for_each_pitch() -> None:
    x = features(played((0.0, 0x90, 60, 100), (0.2, 0xE0, 0, 0x60), (0.4, 0xE0, 0, 0x40)))
    assert x.pitch.tolist() == [60.0, 61.0]
    assert x.key.tolist() == [60, 60]
    assert (x.active.sum(0) == 1).all()


@pytest.mark.parametrize(
    ("key", "bend", "semitones"), [(60, None, 0.0), (60, 0x60, 1.0), (60, 0x00, -2.0), (112, None, 4.0), (18, None, -3.0)]
)
def test_colours_are_moved_with_the_pitch(prior: NotePrior, key: int, bend: int | None, semitones: float) -> None:
    """A peak at 1 kHz in the colours of the key, or of the nearest key with colours, moves with the note's pitch."""
    step = CONFIG.mels_per_bin
    bins = torch.arange(CONFIG.mel_bins)
    of_key = prior.colours.weight.view(-1, len(COLOURED), len(COLOUR_AGES_S), CONFIG.mel_bins)
    of_key[40, min(max(key, COLOURED[0]), COLOURED[-1]) - COLOURED[0]] = (
        -0.05 * (bins - (hz_to_mel(1000.0) / step - 1)).square()
    ).clamp_min(-20)
    x = features(played((0.0, 0xC0, 40, 0), *([] if bend is None else [(0.0, 0xE0, 0, bend)]), (0.0, 0x90, key, 100)))
    gains = prior.timbres(x).colours[-1, 2].log()
    near = (gains - gains.max()).exp().sqrt()
    assert float((near * bins).sum() / near.sum()) == pytest.approx(hz_to_mel(1000 * 2 ** (semitones / 12)) / step - 1, abs=0.1)


def test_details_are_patterns_of_ages_and_bins(prior: NotePrior) -> None:
    """A code sets two ages in four bins: here the ninth pair of ages and bins 20 to 23."""
    x = features(played((0.0, 0xC0, 40, 0), (0.0, 0x90, 60, 100)))
    before = prior.timbres(x).colours[-1].log()
    prior.patterns[3] = torch.arange(1.0, 9.0) / 8
    codes = prior.details.view(-1, len(COLOURED), len(DETAIL_AGES_S) // 2, CONFIG.mel_bins // DETAIL_BINS)
    codes[40, 60 - COLOURED[0], 8, 5] = 3
    change = (prior.timbres(x).colours[-1].log() - before) / 2
    assert change[16:18, 20:24].flatten().tolist() == pytest.approx((torch.arange(1.0, 9.0) / 8).tolist(), abs=0.01)
    change[16:18, 20:24] = 0
    assert float(change.abs().max()) < 0.01


def test_volume_is_a_log_offset(prior: NotePrior) -> None:
    quiet = prior(features(played((0, 0xB0, 7, 50), (0.1, 0x90, 60, 100))))
    usual = prior(features(played((0, 0xB0, 7, 100), (0.1, 0x90, 60, 100))))
    loud = usual > CONFIG.log_floor + 6
    assert loud.any()
    assert (usual - quiet)[loud] == pytest.approx(2 * math.log(2), abs=1e-3)


def test_notes_add_in_power(prior: NotePrior) -> None:
    one, other = (0.1, 0x90, 60, 100), (0.2, 0x90, 67, 80)
    both = prior(features(played(one, other)))
    apart = [prior(features(played(n))) for n in (one, other)]
    assert torch.allclose((2 * both).exp(), (2 * apart[0]).exp() + (2 * apart[1]).exp(), rtol=1e-3, atol=1e-8)


def test_the_prior_is_causal(prior: NotePrior) -> None:
    """A later event changes no frame that ends before it."""
    before = prior(features(played((0.1, 0x90, 60, 100))))
    after = prior(features(played((0.1, 0x90, 60, 100), (0.4, 0x80, 60, 0), (0.4, 0x90, 50, 100))))
    first = MelFormat().first_frame_of(0.4)
    assert torch.allclose(before[:first], after[:first], atol=1e-5)
    assert not torch.allclose(before[first], after[first], atol=1e-3)


def test_roughness_is_a_mean_over_the_notes_by_power_and_beats(prior: NotePrior) -> None:
    """The roughness of two notes lies between theirs, nearer to the louder one's, plus that of beats; in silence it is 0."""

    def roughness(*rows: tuple[float, int, int, int], beats: float = -20.0) -> torch.Tensor:
        x = features(played(*rows))
        notes = prior.contributions(x)
        total = summed(notes.power, notes.frame, x.active.shape[1])
        of_bins = torch.full((CONFIG.mel_bins,), beats)
        return mean_roughness(notes.power, notes.rough_power, notes.frame, of_bins, total, CONFIG.log_floor)

    torch.nn.init.normal_(prior.roughness.weight, std=2.0)
    one, other = (0.1, 0x90, 60, 127), (0.1, 0x90, 72, 100)
    alone, too, both = (roughness(*rows)[20:] for rows in ((one,), (other,), (one, other)))
    powers = [(2 * prior(features(played(n)))[20:]).exp() for n in (one, other)]
    total = powers[0] + powers[1]
    expected = (alone * powers[0] + too * powers[1]) / total
    assert float((alone - too).abs().max()) > 0.1
    assert torch.allclose(both, expected, atol=1e-3)
    assert float(roughness(one)[:4].max()) < 1e-5  # before the onset
    beating = roughness(one, other, beats=-0.5)[20:]
    shared = 1 - (powers[0] / total).square() - (powers[1] / total).square()
    assert torch.allclose(beating.square(), both.square() + math.exp(-1.0) * shared, atol=1e-3)
    assert torch.allclose(roughness(one, beats=-0.5)[20:], alone, atol=1e-3)


def test_nothing_is_silence(prior: NotePrior) -> None:
    assert torch.allclose(prior(features(played())), torch.full((40, 128), CONFIG.log_floor))


def test_lobes_are_the_mel_spectrum_of_a_sinusoid() -> None:
    """The analytic response against a real sinusoid through the real front end."""
    lobes = harmonic_lobes(CONFIG)
    for hertz in (110.0, 443.7, 2000.0, 6543.2):
        wave = torch.sin(2 * math.pi * hertz * torch.arange(6400) / 16000)
        measured = log_mel(wave, MelFormat())[4]
        analytic = 0.5 * torch.log(lobes[round(hertz / 8000 * (len(lobes) - 2))])
        near = measured > measured.max() - 3
        assert (measured - analytic)[near].abs().max() < 0.15


def builtin_prior() -> NotePrior:
    folder = BUILTIN / PRIOR
    return load_weights(folder, lambda: NotePrior(read_config(folder / CONFIG_FILE, PriorConfig))).requires_grad_(False)


def test_held_notes_go_on_as_they_do_where_training_ends() -> None:
    """An organ keeps its level, a piano goes on decaying at the same rate, in both forms of the prior."""
    prior = builtin_prior()
    playing = PlayedPrior(prior)
    at_s = np.array([8.0, 12.0, 20.0, 28.0, 180.0])

    def levels(program: int) -> list[float]:
        performance = played((0.0, 0xC0, program, 0), (0.0, 0x90, 60, 100))
        x = note_features(performance, at_s, prior.config.window_s, prior.config.ring_s)
        mel = playing(x).mel
        assert torch.allclose(mel, prior(x), atol=2e-3)
        above = (2 * mel.double()).exp() - math.exp(2 * prior.config.log_floor)  # the floor itself does not decay
        return (5 * torch.log10(above.sum(1).clamp_min(1e-20))).tolist()

    organ, piano = levels(19), levels(0)
    assert organ[1:] == pytest.approx([organ[1]] * 4, abs=1e-3)
    first, second = piano[1] - piano[2], piano[2] - piano[3]
    assert first == pytest.approx(second, rel=0.1)  # 8 s each
    assert second > 2
    assert piano[4] < piano[3] - 5


def test_a_note_let_go_while_it_rises_falls_from_where_it_was() -> None:
    """A short note stays as far below a longer one as just after its end, in both forms. Notes without a slow attack do not change."""
    prior = builtin_prior()

    def levels_db(program: int, length_s: float) -> torch.Tensor:
        performance = played((0.0, 0xC0, program, 0), (0.0, 0x90, 60, 90), (length_s, 0x80, 60, 0))
        x = note_features(performance, length_s + np.array([0.25, 1.0, 2.0]), prior.config.window_s, prior.config.ring_s)
        mel = PlayedPrior(prior)(x).mel
        assert torch.allclose(mel, prior(x), atol=2e-3)
        return 10 * torch.log10((2 * mel.double()).exp().sum(1))

    def rises(program: int) -> float:
        below = levels_db(program, 0.5) - levels_db(program, 0.0625)
        return float((below[0] - below[1:]).max())

    slow, vibraphone = (93, 101, 122, 126), levels_db(11, 0.0625)
    assert [program for program in slow if rises(program) > 4] == []  # dB; it has another age, and colours of that
    with pytest.MonkeyPatch.context() as without:
        for module in ("extrapolation", "arrays"):
            without.setattr(f"specdiffd.prior.{module}.RELEASE_KNOWN_S", 1e3)
        assert [program for program in slow if rises(program) < 7] == []
        assert torch.equal(levels_db(11, 0.0625), vibraphone)


def test_the_mean_learns_nothing_from_roughness(prior: NotePrior) -> None:
    """Only the parameters of the roughness have gradients from it."""
    prior.requires_grad_(True)
    torch.nn.init.normal_(prior.roughness.weight, std=0.5)
    with torch.enable_grad():
        prior.contributions(features(played((0.1, 0x90, 60, 100)))).rough_power.sum().backward()
    learning = {name.split(".")[0] for name, weight in prior.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert learning == {"roughness", "recall_roughness", "unrest"}
