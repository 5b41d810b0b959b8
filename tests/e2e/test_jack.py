"""The real thing: a JACK server, the daemon on it with the built-in instrument, and a peer that plays and listens."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from peers import RATE, Peer, Server, level, loudest_hz, running_daemon

from specdiffd.control.client import ControlClient


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlClient]:
    folder: Path = tmp_path_factory.mktemp("runtime")
    with Server(folder), running_daemon(folder) as client:
        yield client


def test_keys_are_heard_in_time_and_in_tune(daemon: ControlClient) -> None:
    pitches = [57, 60, 64, 69, 72, 76]
    events = [(0.0, bytes([0xC0, 0]))]
    for k, pitch in enumerate(pitches):
        events += [(0.5 + 0.8 * k, bytes([0x90, pitch, 110])), (0.9 + 0.8 * k, bytes([0x80, pitch, 0]))]
    with Peer() as peer:
        audio = peer.play(events, 0.5 + 0.8 * len(pitches))
    latencies = []
    for k, pitch in enumerate(pitches):
        struck = round((0.5 + 0.8 * k) * RATE)
        before, note = audio[struck - RATE // 20 : struck], audio[struck : struck + round(0.6 * RATE)]
        blocks = np.abs(note[: len(note) // 64 * 64]).reshape(-1, 64).max(1)
        threshold = max(3 * np.abs(before).max(), 0.08 * blocks.max())
        latencies.append(float(np.argmax(blocks > threshold)) * 64 / RATE)
        assert level(note) > 10 * level(before), f"pitch {pitch} was not heard"
        hz = 440 * 2 ** ((pitch - 69) / 12)
        harmonic = loudest_hz(note[RATE // 10 : RATE // 2]) / hz
        assert abs(harmonic - round(harmonic)) < 0.04, f"pitch {pitch} sounds at {harmonic * hz:.1f} Hz"
    delay_s = daemon.call("status")["render_delay_ms"] / 1e3
    assert np.median(latencies) < delay_s + 0.04


def test_a_note_over_zmq_is_heard_through_jack(daemon: ControlClient) -> None:
    with Peer() as peer:
        silence = peer.play([], 0.5)
        daemon.call("program", program=73)
        daemon.call("note_on", pitch=81, velocity=110)
        note = peer.play([], 0.8)
        daemon.call("note_off", pitch=81)
        time.sleep(1.5)
        after = peer.play([], 0.3)
    assert level(note) > 20 * level(silence)
    assert loudest_hz(note[RATE // 4 :]) / 880 == pytest.approx(round(loudest_hz(note[RATE // 4 :]) / 880), abs=0.03)
    assert level(after) < 0.05 * level(note)


def test_pedal_holds_and_panic_silences(daemon: ControlClient) -> None:
    with Peer() as peer:
        strings = [(0.0, bytes([0xC0, 48])), (0.05, bytes([0xB0, 64, 127])), (0.1, bytes([0x90, 60, 100])), (0.3, bytes([0x80, 60, 0]))]
        held = peer.play(strings, 2.0)
        daemon.call("panic")
        time.sleep(0.3)
        after = peer.play([], 0.3)
    assert level(held[-RATE // 2 :]) > 0.2 * level(held)
    assert level(after) < 1e-4
    assert daemon.call("status")["sounding_notes"] == []
