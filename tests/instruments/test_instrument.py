"""The streaming instrument: what is heard does not depend on how it was asked for."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small_instrument

from specdiffd.base.errors import CheckpointError, DeviceError
from specdiffd.base.events import Controllers, Event, Note, Performance
from specdiffd.base.instrument import RenderSettings, finish, render
from specdiffd.dsp.mel import centres_hz
from specdiffd.instruments.builtin import SpectrogramInstrument
from specdiffd.instruments.loading import load_builtin_family, load_instrument, pick_device
from specdiffd.midi.score import Score
from specdiffd.tokens.window import window_start


def run(instrument: SpectrogramInstrument, performance: Performance, cuts: list[int], origin: int = 0) -> tuple[np.ndarray, object]:
    state, at, pieces = instrument.start(origin, 1), origin, []
    for n in cuts:
        rendered, state = render(instrument, [performance], state, at, n)
        assert rendered.first_hop == at - instrument.lookahead_frames
        pieces.append(rendered.audio[0])
        at += n
    return np.concatenate(pieces), state


def test_equal_scores_give_equal_sound(instrument: SpectrogramInstrument, performance: Performance) -> None:
    a, b = (run(instrument, performance, [24] * 6)[0] for _ in range(2))
    assert np.array_equal(a, b)
    other = instrument.with_settings(seed=1)
    assert np.abs(run(other, performance, [24] * 6)[0] - a).max() > 1e-4


def test_knowing_the_future_changes_nothing(instrument: SpectrogramInstrument, events: list[Event]) -> None:
    """A score that grows as it is played sounds as the whole score does: tokens, prior and decoder are causal."""
    whole = Score().extend(events).performance
    cuts = [8] * 20
    expected, _ = run(instrument, whole, cuts)
    score, waiting = Score(), list(events)
    state, at, pieces = instrument.start(0, 1), 0, []
    for n in cuts:
        while waiting and instrument.format.first_frame_of(waiting[0].time_s) < at + n:
            score.apply(waiting.pop(0))
        rendered, state = render(instrument, [score.performance], state, at, n)
        pieces.append(rendered.audio[0])
        at += n
    assert np.abs(np.concatenate(pieces) - expected).max() < 1e-4


def test_a_revision_is_as_if_the_events_had_been_known(instrument: SpectrogramInstrument, performance: Performance) -> None:
    expected, _ = run(instrument, performance, [30, 24, 16])
    heard = [n for n in performance.notes if instrument.format.first_frame_of(n.onset_s) < 30]
    nothing = Performance(heard, performance.controllers)
    _, state = run(instrument, performance, [30])
    _, astray = render(instrument, [nothing], state, 30, 24)
    _, astray = render(instrument, [nothing], astray, 54, 16)
    back = instrument.with_caches(state, astray)
    first, state = render(instrument, [performance], back, 30, 24)
    second, _ = render(instrument, [performance], state, 54, 16)
    found = np.concatenate((first.audio[0], second.audio[0]))
    assert np.abs(found - expected[30 * 320 :]).max() < 1e-4


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("cuts", [[1] * 350, [7] * 50, [100, 3, 200, 47]])
def test_it_does_not_matter_how_it_is_cut(instrument: SpectrogramInstrument, performance: Performance, cuts: list[int], steps: int) -> None:
    """All frames sampled in one window are one sample, also across two rolls."""
    with torch.no_grad():
        torch.nn.init.normal_(instrument.decoder.head[-1].conv.weight, std=0.5)
    notes = [replace(n, onset_s=n.onset_s + late, offset_s=n.offset_s + late) for n in performance.notes for late in (0.0, 4.0)]
    stepping, long = instrument.with_settings(steps=steps), Performance(sorted(notes, key=lambda n: n.onset_s), performance.controllers)
    whole, _ = run(stepping, long, [350])
    assert np.abs(run(stepping, long, cuts)[0] - whole).max() < 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize("use_decoder", [False, True])
def test_texture_is_drawn(instrument: SpectrogramInstrument, performance: Performance, use_decoder: bool) -> None:
    """Above 2 kHz a spectrogram deviates from the mean by the prior's roughness, drafted or refined; another seed changes only the flow's noise."""
    roughness = 0.25
    with torch.no_grad():
        instrument.prior.roughness.weight.zero_()
        instrument.prior.roughness.bias.fill_(math.log(roughness))
        instrument.prior.beats.fill_(-20.0)
        instrument.decoder.head[-1].conv.weight.zero_()  # frames end where they began
    mels = []
    for changes in ({}, {"seed": 1}, {"noise": 0.0}):
        one = instrument.with_settings(use_decoder=use_decoder, **changes)
        mel = render(one, [performance], one.start(0, 1), 0, 100)[0].mel
        assert mel is not None
        mels.append(mel[0])
    mel, reseeded, mean = mels
    fmt = instrument.format
    high, loud = torch.from_numpy(centres_hz(fmt) >= 2000), mean > -4.0
    start = use_decoder * instrument.decoder.config.noise_scale * (fmt.log_ceiling - fmt.log_floor) / 2
    assert float((mel - mean)[loud & ~high].std()) == pytest.approx(start, rel=0.05)
    assert float((mel - mean)[loud & high].std()) == pytest.approx(math.hypot(start, roughness), rel=0.1)
    assert float((mel - reseeded)[loud].std()) == pytest.approx(start * math.sqrt(2), rel=0.05)  # the notes' texture does not change


def test_a_state_is_a_value(instrument: SpectrogramInstrument, performance: Performance) -> None:
    _, state = run(instrument, performance, [30])
    one, _ = render(instrument, [performance], state, 25, 24)
    render(instrument, [Performance([], performance.controllers)], state, 28, 40)
    two, _ = render(instrument, [performance], state, 25, 24)
    assert np.array_equal(one.audio, two.audio)


def test_the_window_rolls_by_hops_and_is_prepared_beforehand(instrument: SpectrogramInstrument, performance: Performance) -> None:
    assert [window_start(0, end, 256, 64) for end in (24, 256, 257, 320, 321)] == [0, 0, 64, 64, 128]
    assert window_start(1000, 1256, 256, 64) == 1000
    long = Performance([*performance.notes], performance.controllers)
    plain, _ = run(instrument, long, [24] * 14)
    state, at, pieces = instrument.start(0, 1), 0, []
    prepared = 0
    for _ in range(14):
        while (further := instrument.prepare([long], state, 24)) is not None:
            state, prepared = finish(further), prepared + 1
        rendered, state = render(instrument, [long], state, at, 24)
        pieces.append(rendered.audio[0])
        at += 24
    assert prepared >= 10
    assert np.abs(np.concatenate(pieces) - plain).max() < 1e-4


def test_parts_are_independent_and_padding_is_silent(instrument: SpectrogramInstrument, performance: Performance) -> None:
    few = Performance(performance.notes[:2], performance.controllers)
    state = instrument.start(0, 2)
    both, state = render(instrument, [performance, few], state, 0, 40)
    assert both.audio.shape == (2, 40 * 320)
    alone, _ = render(instrument, [performance], instrument.start(0, 1), 0, 40)
    assert np.abs(both.audio[0] - alone.audio[0]).max() < 1e-4


def test_going_too_far_is_refused(instrument: SpectrogramInstrument, performance: Performance) -> None:
    _, state = run(instrument, performance, [30])
    with pytest.raises(ValueError, match="frame 31 does not follow frame 29"):
        render(instrument, [performance], state, 31, 5)


@pytest.mark.parametrize("changes", [{"use_decoder": False}, {"use_context": False}, {"noise": 0.0}, {"steps": 3}])
def test_settings_change_the_sound(instrument: SpectrogramInstrument, performance: Performance, changes: dict[str, object]) -> None:
    with torch.no_grad():
        torch.nn.init.normal_(instrument.decoder.head[-1].conv.weight, std=0.5)
    cuts = [60, 60, 60, 60, 60, 60]
    usual, _ = run(instrument, performance, cuts)
    other, _ = run(instrument.with_settings(**changes), performance, cuts)
    assert np.abs(usual - other).max() > 1e-5


def test_the_built_in_instrument_loads_and_sounds() -> None:
    loaded = load_instrument("builtin", settings=RenderSettings(seed=3))
    score = Score().extend([Event(0.0, 0x90, 60, 100)])
    rendered, _ = render(loaded, [score.performance], loaded.start(0, 1), 0, 30)
    audio = rendered.audio[0, 3200:]
    assert 0.002 < np.sqrt(np.mean(audio**2)) < 0.2
    power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
    hertz = np.fft.rfftfreq(len(audio), 1 / loaded.sample_rate_hz)
    near_partials = np.abs((hertz / 261.63 + 0.5) % 1 - 0.5) < 0.04
    assert power[near_partials].sum() > 0.9 * power[hertz > 100].sum()


def test_unknown_instruments_and_devices_are_named() -> None:
    with pytest.raises(CheckpointError, match="no directory /nowhere"):
        load_instrument("/nowhere")
    with pytest.raises(DeviceError, match="device 'cuda:99'"):
        pick_device("cuda:99")
    with pytest.raises(DeviceError, match="device 'tpu'"):
        pick_device("tpu")
    assert pick_device("cpu") == "cpu"


def test_another_kind_of_checkpoint_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusion"}')
    with pytest.raises(CheckpointError, match="_class_name is 'StableDiffusion'"):
        load_instrument(str(tmp_path))


def test_small_instruments_differ_by_seed() -> None:
    a, b = small_instrument(0), small_instrument(1)
    assert not torch.equal(a.decoder.spec_out.weight, b.decoder.spec_out.weight)


@pytest.mark.parametrize("program", [0, 16])
def test_a_note_shorter_than_a_frame_still_sounds(program: int) -> None:
    """A key held for a millisecond sounds at least half as loud as one held for a tenth of a second on a piano, a quarter on an organ."""
    builtin = load_builtin_family("builtin")

    def peak(length_s: float) -> float:
        note = Note(0.105, 64, 100, program, 0, offset_s=0.105 + length_s)
        rendered, _ = render(builtin, [Performance([note], {0: Controllers()})], builtin.start(0, 1), 0, 32)
        return float(np.abs(rendered.audio).max())

    assert peak(0.001) > (0.5 if program == 0 else 0.25) * peak(0.1)


@pytest.mark.parametrize("onset_s", [0.6, 0.613])
def test_no_burst_before_an_onset(onset_s: float) -> None:
    """Before a chord nothing is louder than without it. Its onset at 0.6 s is the end of a frame's window, which is common in songs."""
    builtin = load_builtin_family("builtin")
    past = round(onset_s * builtin.sample_rate_hz)

    def peak(program: int, pitches: Sequence[int]) -> float:
        notes = [Note(0.1, 60, 100, program, 0, offset_s=0.4), *(Note(onset_s, pitch, 100, program, 0) for pitch in pitches)]
        rendered, _ = render(builtin, [Performance(notes, {0: Controllers()})], builtin.start(0, 1), 0, 36)
        heard = rendered.audio[0, builtin.lookahead_frames * builtin.hop_samples :]
        return 20 * math.log10(float(np.abs(heard[past - round(0.05 * builtin.sample_rate_hz) : past]).max()))

    over_db = {program: peak(program, (55, 64)) - peak(program, ()) for program in (19, 44, 92, 95, 101)}
    assert max(over_db.values()) < 3, over_db  # up to 21 while the prior took a note for present that had not begun
