"""The room: a convolution, in blocks as in one piece; its send; live and offline."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import next_block
from virtual_stream import VirtualStream

from specdiffd.base.config import AudioConfig
from specdiffd.base.events import Event
from specdiffd.dsp.reverb import Reverb, impulse_response, sends
from specdiffd.instruments.sine import SineInstrument
from specdiffd.io.output import Player
from specdiffd.midi.score import Score
from specdiffd.player.engine import Engine
from specdiffd.player.settings import settings_for
from specdiffd.render import Rendering, RenderSettings, render_file, stretches
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.timeline import Timeline

RATE = 48000
STRUCK = [Event(0.1, 0x90, 60, 100), Event(0.3, 0x80, 60)]


@pytest.mark.parametrize("block", [16, 256, 4096])
def test_blocks_are_the_whole_convolution(block: int) -> None:
    send = np.random.default_rng(0).normal(0, 0.1, 12 * 4096).astype(np.float32)
    send[20000:] = 0
    reverb = Reverb(RATE, block, 0.5)
    answer = np.concatenate([reverb.process(piece) for piece in send.reshape(-1, block)])
    room = impulse_response(RATE)
    for ear in range(2):
        whole = np.convolve(send[:20000], 0.5 * room[:, ear])[: len(send)]
        assert np.abs(answer[: len(whole), ear] - whole[: len(answer)]).max() < 1e-5


def test_it_rings_out_and_is_quiet_then() -> None:
    reverb = Reverb(RATE, 256, 1.0)
    assert reverb.quiet
    reverb.process(np.ones(256, np.float32))
    blocks = 0
    while not reverb.quiet:
        last = reverb.process(np.zeros(256, np.float32))
        blocks += 1
    assert 0.6 < blocks * 256 / RATE < 0.8
    assert not last.any()


def test_the_room_decays_and_has_two_ears() -> None:
    room = impulse_response(RATE)
    early, late = (np.sqrt((room[a:b] ** 2).mean()) for a, b in ((2000, 6000), (22000, 26000)))
    assert 20 * np.log10(early / late) == pytest.approx(60 / 0.7 * 20000 / RATE, abs=8)
    assert abs(np.corrcoef(room.T)[0, 1]) < 0.3
    assert (room**2).sum(0) == pytest.approx(1, abs=1e-4)


def test_the_send_is_that_of_the_channels_that_sound() -> None:
    events = [Event(0.0, 0xB0, 91, 127), Event(0.0, 0xB1, 91, 0), Event(1.0, 0x90, 60, 100), Event(2.0, 0x91, 60, 100)]
    score = Score().extend([*events, Event(3.0, 0x80, 60), Event(3.0, 0x81, 60), Event(3.5, 0x92, 60, 100)]).performance
    assert sends(score, np.array([0.5, 1.5, 2.5, 3.6])).tolist() == pytest.approx([0, 1, 0.5, 40 / 127], abs=0.02)


def test_played_live_it_is_heard_after_the_note_and_the_dry_sound_is_the_same() -> None:
    heard = {}
    for level in (0.0, 0.5):
        shared = SharedBlock()
        settings = settings_for(RATE, 256, 3.0, 2.0, 1, level > 0)
        engine = Engine(SineInstrument(), shared.timeline, settings)
        player = Player(shared, AudioConfig(reverb=level), 48000)
        blocks, waiting = [], list(STRUCK)
        while shared.timeline.playhead < 2 * RATE:
            while waiting and waiting[0].time_s <= shared.timeline.playhead / RATE:
                event = waiting.pop(0)
                engine.play(event._replace(time_s=event.time_s + 0.05))
            while engine.work():
                pass
            blocks.append(next_block(player))
        heard[level] = np.concatenate(blocks)
    dry, wet = heard[0.0], heard[0.5]
    assert np.array_equal(dry[:, 0], dry[:, 1])
    assert not dry[int(0.45 * RATE) :].any()
    assert np.abs(wet[int(0.5 * RATE) : int(0.6 * RATE)]).max() > 1e-4
    assert not np.allclose(wet[:, 0], wet[:, 1], atol=1e-4)
    assert np.abs(wet - dry)[: int(0.155 * RATE)].max() < 1e-6
    assert not wet[int(1.3 * RATE) :].any()


def test_what_goes_to_the_room_is_the_dry_sound_times_the_send() -> None:
    timeline = Timeline()
    timeline.clear()
    engine = Engine(SineInstrument(), timeline, settings_for(RATE, 256, 3.0, 2.0, 2, True))
    events = [
        Event(0.0, 0xB0, 91, 127),
        Event(0.0, 0xB1, 91, 0),
        *STRUCK,
        *(e._replace(time_s=e.time_s + 0.5, status=e.status + 1) for e in STRUCK),
    ]
    heard = VirtualStream(timeline, engine.play, engine.work).run(events, 1.5)
    first, second = (slice(int(a * RATE), int((a + 0.2) * RATE)) for a in (0.15, 0.65))
    assert np.allclose(heard[first, 1], heard[first, 0], atol=1e-5)
    assert np.abs(heard[second, 0]).max() > 0.01
    assert not heard[second, 1].any()


def test_offline_it_makes_a_stereo_file_that_rings_out(tmp_path: Path) -> None:
    for name, level in (("dry.wav", 0.0), ("wet.wav", 0.5)):
        song = Rendering(stretches(SineInstrument(), STRUCK), 0.0, [])
        render_file(SineInstrument(), song, tmp_path / name, RenderSettings(RATE, reverb=level))
    dry, wet = (soundfile.read(tmp_path / name, always_2d=True)[0] for name in ("dry.wav", "wet.wav"))
    assert dry.shape[1] == 1
    assert wet.shape[1] == 2
    assert len(wet) > len(dry) + 0.3 * RATE
    assert np.abs(wet[:5200] - dry[:5200]).max() < 1e-3
