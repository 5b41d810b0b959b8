"""The measures: audio like the reference scores as the reference does, other audio does not."""

from pathlib import Path

import numpy as np
import pytest

from specdiffd.base.events import Event
from specdiffd.evaluate import honesty, sounds
from specdiffd.evaluate.notes import Row
from specdiffd.evaluate.pieces import crescendo, phrase, single_notes, strokes
from specdiffd.evaluate.rendering import Audio, Renderers, model_mel
from specdiffd.evaluate.report import write_report
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.reference.fluid import FluidRenderer

RATE = 16000


class Impostor(Renderers):
    """The reference in place of the instrument, with its events and audio changed."""

    def __init__(self, instrument: SpectrogramInstrument, spoil=lambda audio: audio, events=lambda events: events) -> None:  # type: ignore[no-untyped-def]
        self.instrument, self.rate_hz = instrument, RATE
        self._spoil, self._events = spoil, events
        fluid = FluidRenderer("fluid", RATE)
        self._fluid = fluid

    def font(self, events: list[Event], duration_s: float, which: str = "reference") -> Audio:  # type: ignore[override]
        return self._fluid.render(events, duration_s)

    def play(self, events: list[Event], duration_s: float) -> Audio:  # type: ignore[override]
        return self._spoil(self.font(self._events(events), duration_s))


def test_drums_are_heard_and_missed(instrument: SpectrogramInstrument) -> None:
    found = sounds.drums(Impostor(instrument))
    assert found["ratio"] == pytest.approx(1, abs=0.02)
    assert found["reference_f1"] > 0.85
    without_kick = sounds.drums(Impostor(instrument, events=lambda events: [e for e in events if e.data1 not in (35, 36)]))
    assert without_kick["kick_ratio"] < 0.6
    assert without_kick["hats_ratio"] > 0.9


def test_timing_is_measured(instrument: SpectrogramInstrument) -> None:
    late = sounds.timing(Impostor(instrument, lambda audio: np.concatenate((np.zeros(80, np.float32), audio[:-80]))), count=4)
    assert late["median_ms"] == pytest.approx(5, abs=0.1)
    assert late["p95_minus_p5_ms"] < 0.2
    assert late["notes"] > 20


def test_loudness_is_measured(instrument: SpectrogramInstrument) -> None:
    found = sounds.loudness(Impostor(instrument, lambda audio: audio * np.float32(0.5)))
    assert found["level_error_db"] == pytest.approx(6.02, abs=0.3)  # two renderings are never equal
    assert found["rank_correlation"] == pytest.approx(found["reference"], abs=0.01)
    upside_down = sounds.loudness(
        Impostor(instrument, events=lambda events: [e._replace(data2=128 - e.data2) if e.data2 else e for e in events])
    )
    assert upside_down["rank_correlation"] < -0.9


def test_retrieval_knows_programs(instrument: SpectrogramInstrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sounds, "PROGRAMS", 12)
    assert sounds.retrieval(Impostor(instrument))["top_1"] == 1
    other = sounds.retrieval(Impostor(instrument, events=lambda events: [e._replace(data1=0) if e.kind == 0xC0 else e for e in events]))
    assert other["top_3"] < 0.5


def test_brightness_has_a_band_to_be_measured_in(instrument: SpectrogramInstrument) -> None:
    assert set(sounds.brightness(Impostor(instrument)).values()) == {None}  # 16 kHz


def test_frechet_distance() -> None:
    one = np.zeros(3), np.eye(3)
    assert honesty.frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert honesty.frechet((np.array([2.0, 0, 0]), np.eye(3)), one) == pytest.approx(4)
    assert honesty.frechet((np.zeros(3), 4 * np.eye(3)), one) == pytest.approx(3)  # three times (2 - 1) squared


def test_the_models_are_compared_whatever_their_steps(instrument: SpectrogramInstrument) -> None:
    """Three steps are not among the variants."""
    found = honesty.evaluate_honesty(Impostor(instrument.with_settings(steps=3)), [("piano", "a", phrase(0)[0])], 2.7)
    assert found["models"]["moved"]["contrast"] == pytest.approx(1, abs=0.2)
    assert set(found["models"]) >= {"3 steps", *honesty.MODELS}
    assert found["another_noise_l1"] > 0


def test_the_other_soundfont_differs(instrument: SpectrogramInstrument) -> None:
    events, duration_s = phrase(0)
    for reference in ("fluid", "musescore"):
        renderers = Renderers(instrument, reference)
        assert np.abs(renderers.font(events, duration_s) - renderers.font(events, duration_s, "other")).max() > 0.001


def test_a_blurred_mel_is_told_from_a_sharp_one() -> None:
    rng = np.random.default_rng(0)
    sharp = [rng.normal(0, 1, (4000, 64)).astype(np.float32)]
    blurred = [(sharp[0] + np.roll(sharp[0], 1, 1) + np.roll(sharp[0], 1, 0)) / 3]
    assert honesty._contrast(blurred, sharp) < 0.8 * honesty._contrast(sharp, sharp)
    assert honesty._variance(blurred, sharp) < 0.5 * honesty._variance(sharp, sharp)
    embed = honesty._embedding(sharp)
    again = [rng.normal(0, 1, (4000, 64)).astype(np.float32)]
    reference, other, soft = (honesty._statistics(embed(m)) for m in (sharp, again, blurred))
    assert honesty.frechet(soft, reference) > 3 * honesty.frechet(other, reference)


def test_the_models_mel_covers_what_was_asked_for(instrument: SpectrogramInstrument, events: list[Event]) -> None:
    mel = model_mel(instrument, events, 100)
    assert mel.shape == (100, instrument.format.mel_bins)
    assert mel.max() > instrument.format.log_floor
    assert mel.min() >= instrument.format.log_floor


@pytest.mark.parametrize("made", [phrase(3), crescendo(3, (20, 90)), single_notes(3, 4, 0)[::2], strokes((36, 38))])
def test_single_sounds_are_in_order_and_end_in_time(made: tuple[list[Event], float]) -> None:
    events, duration_s = made
    assert [e.time_s for e in events] == sorted(e.time_s for e in events)
    assert events[-1].time_s < duration_s


def test_the_report_has_its_tables_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    audio = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    rows = [Row(variant, "piano", "a <song>", 0.5, 0.1, 0.2, 0.3, audio) for variant in ("reference", "instrument")]
    figures = {"notes": [{"variant": "x", "note_f1": 0.123}], "honesty": {"models": {"1 step": {"frechet": 1.5}}, "moved": 0.25}}
    page = write_report(tmp_path / "report", figures, rows, RATE).read_text()
    for text in ("<td>0.123", "<td>1.500", "0.250", "a &lt;song&gt;", "data:image/png;base64,"):
        assert text in page
    assert (tmp_path / "report" / "piano.png").stat().st_size > 1000
