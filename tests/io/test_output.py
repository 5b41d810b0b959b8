import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import next_block

from specdiffd.config import AudioConfig
from specdiffd.errors import DeviceError
from specdiffd.io.devices import find_device
from specdiffd.io.output import Player
from specdiffd.io.shared import SharedBlock
from specdiffd.io.sinks import PacedSink, open_sink


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
