import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from conftest import next_block

from specdiffd.base.config import AudioConfig
from specdiffd.base.errors import DeviceError
from specdiffd.dsp.limiter import RAMP_S
from specdiffd.io.devices import find_device
from specdiffd.io.output import EARLY_HALVES_S, PEAK_HALVES_S, RESTING_S, Player
from specdiffd.io.sinks import LONGEST_PAUSE_S, PacedSink, PortAudioSink, open_sink
from specdiffd.shared.block import SharedBlock


@pytest.fixture
def shared() -> SharedBlock:
    return SharedBlock()


def fill(shared: SharedBlock, audio: np.ndarray, config: AudioConfig, block: int = 256) -> np.ndarray:
    """What a player makes of ``audio`` (samples,), gain ramped up already."""
    player = Player(shared, config, 48000)
    player.fill(block)  # the first block ramps up from silence
    at = shared.timeline.playhead
    shared.timeline.write(at, np.repeat(audio[:, None].astype(np.float32), 2, 1))
    shared.timeline.publish(at + len(audio), silent=True)
    return np.concatenate([next_block(player, block) for _ in range(len(audio) // block)])[:, 0]


def test_it_plays_the_timeline(shared: SharedBlock) -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 2560)
    assert np.abs(fill(shared, audio, AudioConfig()) - audio).max() < 1e-6
    assert shared.played.count == 2560 + 256


def test_gain_is_ramped_over_a_block(shared: SharedBlock) -> None:
    player = Player(shared, AudioConfig(limiter=False), 48000)
    player.fill(256)
    at = shared.timeline.playhead
    shared.timeline.write(at, np.full((2560, 2), 0.5, np.float32))
    shared.timeline.publish(at + 2560, silent=True)
    shared.timeline.header.gain = 0.25
    first, second = next_block(player), next_block(player)
    assert np.abs(np.diff(first[:, 0])).max() < 0.002
    assert second[:, 0] == pytest.approx(0.125)
    shared.timeline.header.running = 0
    assert next_block(player)[-1, 0] == pytest.approx(0)


def test_the_limiter_keeps_peaks_below_full_scale_without_a_jump(shared: SharedBlock) -> None:
    n = np.arange(48000)
    audio = np.sin(2 * np.pi * 480 * n / 48000) * np.where((n > 20000) & (n < 28000), 2.5, 0.5)
    out = fill(shared, audio, AudioConfig())
    assert np.abs(out).max() <= 0.99
    assert shared.timeline.header.limited_blocks > 0
    assert np.abs(out[:15000] - audio[:15000]).max() < 1e-6
    crests = np.abs(out[21000:27000]).reshape(-1, 200).max(1)
    assert crests.min() > 0.9
    assert np.abs(np.diff(out[20500:])).max() < 2 * np.pi * 480 / 48000 * 1.2


def test_without_a_limiter_it_clips(shared: SharedBlock) -> None:
    assert np.abs(fill(shared, np.full(2560, 3.0), AudioConfig(limiter=False))).max() == 1.0


def test_missing_runs_are_counted(shared: SharedBlock) -> None:
    player = Player(shared, AudioConfig(), 48000)
    shared.timeline.publish(300, silent=False)
    for _ in range(4):
        player.fill(256)
    assert shared.timeline.header.missing_samples == 4 * 256 - 300
    assert shared.timeline.header.missing_runs == 1


def test_wav_output_is_paced_in_real_time(shared: SharedBlock, tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    sink = open_sink(shared, AudioConfig(device=f"wav:{path}"))
    assert isinstance(sink, PacedSink)
    sink.start()
    time.sleep(0.5)
    sink.stop()
    sink.check()
    played = shared.timeline.playhead / 48000
    assert 0.3 < played < 0.7
    info = soundfile.info(path)
    assert (info.samplerate, info.channels) == (48000, 2)
    assert info.frames == shared.played.count


def test_an_unwritable_wav_is_an_error(shared: SharedBlock) -> None:
    with pytest.raises(DeviceError, match="cannot write"):
        open_sink(shared, AudioConfig(device="wav:/nowhere/out.wav"))


class FakeSoundDevice:
    """Two host APIs, three devices."""

    class default:
        device = (-1, -1)

    def query_devices(self) -> list[dict[str, object]]:
        return [
            {"name": "Microphone", "hostapi": 0, "max_output_channels": 0},
            {"name": "HDA Intel PCH", "hostapi": 0, "max_output_channels": 2},
            {"name": "system", "hostapi": 1, "max_output_channels": 2},
        ]

    def query_hostapis(self) -> list[dict[str, object]]:
        return [{"name": "ALSA", "default_output_device": 1}, {"name": "JACK Audio Connection Kit", "default_output_device": 2}]


@pytest.mark.parametrize(("wanted", "index"), [("jack", 2), ("alsa", 1), ("default", 1), ("intel", 1), (2, 2), ("system", 2)])
def test_devices_are_found_by_name_index_or_host_api(wanted: str | int, index: int) -> None:
    assert find_device(FakeSoundDevice(), wanted) == index


@pytest.mark.parametrize("wanted", ["pulse", "USB", 0, 7])
def test_unknown_devices_are_answered_with_what_is_there(wanted: str | int) -> None:
    with pytest.raises(DeviceError, match=r"1: HDA Intel PCH \(ALSA\), 2: system"):
        find_device(FakeSoundDevice(), wanted)


def test_silence_between_sounds_is_played_and_recorded_as_silence(shared: SharedBlock) -> None:
    """Idle blocks take a shorter way through the callback: the clock and what comes after are as without it."""
    player = Player(shared, AudioConfig(), 48000)
    heard = [next_block(player) for _ in range(20)]
    assert shared.timeline.playhead == 20 * 256 == shared.played.count
    assert shared.timeline.clock() is not None
    at = shared.timeline.playhead + 256
    shared.timeline.write(at, np.full((256, 2), 0.25, np.float32))
    shared.timeline.publish(at + 256, silent=True)
    heard += [next_block(player) for _ in range(4)]
    expected = np.repeat([*[0.0] * 21, 0.25, 0.0, 0.0], 256)
    for audio in (np.concatenate(heard), shared.played.since(0)[0]):
        assert np.abs(audio[:, 0] - expected).max() < 1e-6
    assert shared.timeline.header.missing_samples == 0


# -- the same at every size of a block and every rate ------------------------------------------------------------


class Steady:
    """A stream whose callbacks come in time to the sample."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rate_hz: int, block: int, **config: object) -> None:
        self.shared, self.rate_hz, self.block = SharedBlock(), rate_hz, block
        self.header = self.shared.timeline.header
        clock = SimpleNamespace(monotonic_ns=lambda: round(1e9 * self.header.playhead / rate_hz))
        monkeypatch.setattr("specdiffd.io.output.time", clock)
        self.player = Player(self.shared, AudioConfig(block_size=block, **config), rate_hz)  # type: ignore[arg-type]
        next_block(self.player, block)  # ramps up from silence, ...
        self.sound(np.zeros(round(2 * RAMP_S * rate_hz) + block))  # ... a small one not all the way

    def sound(self, audio: np.ndarray) -> np.ndarray:
        """What it plays while the timeline has ``audio`` (samples,) and, if it is no whole number of blocks, silence behind it."""
        count = -(-len(audio) // self.block)
        padded = np.pad(audio, (0, count * self.block - len(audio)))
        self.shared.timeline.write(self.header.playhead, np.repeat(padded[:, None].astype(np.float32), 2, 1))
        self.shared.timeline.publish(self.header.playhead + len(padded), silent=True)
        return np.concatenate([next_block(self.player, self.block) for _ in range(count)])[: len(audio), 0]


SIZES = pytest.mark.parametrize(
    ("rate_hz", "block"), [(48000, 16), (48000, 64), (48000, 256), (48000, 300), (48000, 8192), (44100, 128), (96000, 2048), (8000, 512)]
)


@SIZES
@pytest.mark.parametrize("resting", [False, True])
def test_a_peak_is_forgotten_in_seconds(monkeypatch: pytest.MonkeyPatch, rate_hz: int, block: int, resting: bool) -> None:
    stream = Steady(monkeypatch, rate_hz, block)
    stream.sound(np.full(block, 0.8))
    assert stream.header.peak == pytest.approx(0.8, rel=1e-3)
    before, began = stream.header.peak, stream.header.playhead
    if resting:
        while stream.header.playhead - began < PEAK_HALVES_S * rate_hz:
            stream.player.fill(block)
    else:
        stream.sound(np.full(round(PEAK_HALVES_S * rate_hz), 1e-4))
    waited_s = (stream.header.playhead - began) / rate_hz
    tolerance = 0.5 ** (-max(RESTING_S, block / rate_hz) / PEAK_HALVES_S) - 1  # a rest's is forgotten when it begins
    assert stream.header.peak == pytest.approx(before * 0.5 ** (waited_s / PEAK_HALVES_S), rel=1.1 * tolerance)


@SIZES
def test_how_early_callbacks_came_is_forgotten_in_seconds(monkeypatch: pytest.MonkeyPatch, rate_hz: int, block: int) -> None:
    stream = Steady(monkeypatch, rate_hz, block)
    stream.header.clock_early_s, began = 0.004, stream.header.playhead
    stream.sound(np.full(3 * rate_hz, 0.1))
    waited_s = (stream.header.playhead - began) / rate_hz
    assert stream.header.clock_early_s == pytest.approx(0.004 * 0.5 ** (waited_s / EARLY_HALVES_S), rel=1e-3)


@SIZES
def test_a_rest_looks_at_the_clock_by_seconds(monkeypatch: pytest.MonkeyPatch, rate_hz: int, block: int) -> None:
    stream = Steady(monkeypatch, rate_hz, block)
    looks = []
    while len(looks) < 5:
        version = stream.header.clock_version
        at = stream.header.playhead
        stream.player.fill(block)
        if stream.header.clock_version != version:
            looks.append(at / rate_hz)
    assert np.diff(looks) == pytest.approx(max(RESTING_S, block / rate_hz), abs=0.51 * block / rate_hz)


@SIZES
def test_gain_moves_by_seconds(monkeypatch: pytest.MonkeyPatch, rate_hz: int, block: int) -> None:
    stream = Steady(monkeypatch, rate_hz, block)
    stream.header.gain = 0.5
    heard = stream.sound(np.full(rate_hz // 2, 0.25))
    assert np.argmax(heard <= 0.125) == pytest.approx(0.5 * RAMP_S * rate_hz, abs=2)
    assert np.diff(heard).min() > -0.25 / (RAMP_S * rate_hz) * 1.01
    stream.header.running = 0
    heard = stream.sound(np.full(rate_hz // 2, 0.25))
    assert np.argmax(heard == 0) == pytest.approx(0.5 * RAMP_S * rate_hz, abs=2)


@SIZES
def test_the_limiter_is_down_in_time_and_not_long_before(monkeypatch: pytest.MonkeyPatch, rate_hz: int, block: int) -> None:
    stream = Steady(monkeypatch, rate_hz, block)
    n = np.arange(rate_hz)
    loud = (n >= 0.4 * rate_hz) & (n < 0.5 * rate_hz)
    audio = np.sin(2 * np.pi * 500 * n / rate_hz) * np.where(loud, 2.5, 0.5)
    heard = stream.sound(audio)
    assert np.abs(heard).max() < 0.985
    early = int(0.4 * rate_hz - 2 * RAMP_S * rate_hz) - 1
    assert np.abs(heard[:early] - audio[:early]).max() < 1e-6
    told = np.flatnonzero(np.abs(audio) > 0.1)
    gain = heard[told] / audio[told]
    assert (np.diff(gain) / np.diff(told)).min() > -1.01 / (RAMP_S * rate_hz)


def test_peaks_are_measured_without_a_limiter_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Steady(monkeypatch, 48000, 256, limiter=False)
    stream.sound(np.full(1024, 0.7))
    assert stream.header.peak == pytest.approx(0.7, rel=0.01)


@pytest.mark.parametrize(("rate_hz", "block"), [(48000, 256), (8000, 8192)])
def test_a_stream_counts_as_stopped_when_no_block_has_come_for_long(monkeypatch: pytest.MonkeyPatch, rate_hz: int, block: int) -> None:
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr("specdiffd.io.sinks.time", SimpleNamespace(monotonic=lambda: now.s))
    sink = PortAudioSink.__new__(PortAudioSink)
    sink._header, sink._block_s = SharedBlock().timeline.header, block / rate_hz
    sink._stream = SimpleNamespace(active=True, start=lambda: None)
    sink.start()
    for _ in range(5):
        sink._header.playhead += block
        sink.check()
        now.s += block / rate_hz
        sink.check()
    now.s += LONGEST_PAUSE_S + 0.01
    with pytest.raises(DeviceError, match="stopped"):
        sink.check()
