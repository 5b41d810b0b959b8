"""Keyboards over JACK that misbehave, are unplugged, plugged in again; sines, since the notes are what matters."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jack
import pytest
from peers import RATE, Peer, Server, level, loudest_hz, running_daemon

from specdiffd.control.client import ControlClient

SINES = ("--fake", "-o", "engine.render_delay_ms=50", "-o", "engine.standby=false")
NAME = "Clavier é 日本"
ON, OFF = bytes([0x90, 69, 100]), bytes([0x80, 69, 0])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlClient]:
    folder: Path = tmp_path_factory.mktemp("runtime")
    with Server(folder), running_daemon(folder, *SINES, "-o", 'midi.connect=["Clavier"]') as client:
        yield client


def sounding(daemon: ControlClient) -> list[int]:
    return [n["pitch"] for n in daemon.call("status")["sounding_notes"]]


def until(condition: Callable[[], object], timeout_s: float) -> float:
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s
        time.sleep(0.02)
    return time.monotonic() - started_s


def heard(peer: Peer) -> bool:
    audio = peer.play([(0.1, ON), (0.5, OFF)], 1.0)
    note = audio[round(0.25 * RATE) : round(0.45 * RATE)]
    return bool(level(note) > 0.01 and abs(loudest_hz(note) - 440) < 8)


def test_a_sysex_without_an_end_makes_nobody_deaf(daemon: ControlClient) -> None:
    """With RtMidi everything after it was taken for its continuation, of keyboards that connected later, too."""
    with Peer() as peer:
        assert heard(peer)
        peer.play([(0.1, bytes([0xF0, 0x43, 0x10]))], 0.5)
        assert heard(peer)
        assert heard(peer)
    with Peer(name="another") as peer:
        assert heard(peer)


def test_a_long_sysex_in_several_pieces_is_one(daemon: ControlClient) -> None:
    with Peer() as peer:
        peer.play([(0.1, ON)], 0.5)
        until(lambda: sounding(daemon) == [69], 2)
        peer.play([(0.1, bytes([0xF0, 0x7E, 0x10])), (0.2, bytes([0x09, 0x01, 0xF7]))], 0.5)
        until(lambda: sounding(daemon) == [], 2)


def test_active_sensing_that_stops_lets_go(daemon: ControlClient) -> None:
    with Peer() as peer:
        audio = peer.play([(0.05, ON), *((0.1 * k, b"\xfe") for k in range(1, 10))], 3.0)
        assert level(audio[round(0.4 * RATE) : round(0.9 * RATE)]) > 0.01
        assert level(audio[round(1.8 * RATE) :]) < 1e-4
        peer.play([(0.1, OFF)], 0.2)


@contextmanager
def keyboard() -> Iterator[tuple[jack.Client, list[bytes]]]:
    """One that does not connect itself; what is in the list is sent with the next block."""
    client, waiting = jack.Client(NAME), list[bytes]()
    port = client.midi_outports.register("out")

    def process(frames: int) -> None:
        port.clear_buffer()
        while waiting:
            port.write_midi_event(0, waiting.pop(0))

    client.set_process_callback(process)
    client.activate()
    try:
        yield client, waiting
    finally:
        client.deactivate()
        client.close()


def connected(daemon: ControlClient) -> bool:
    return daemon.call("status")["midi"]["connected"] == [f"{NAME}:out"]


def test_an_unplugged_keyboard_leaves_nothing_on_and_is_connected_again(daemon: ControlClient) -> None:
    """However soon it is back: it was not noticed within a second."""
    with keyboard() as (client, waiting):
        until(lambda: connected(daemon), 3)
        waiting += [bytes([0xB0, 64, 127]), bytes([0x90, 72, 100]), bytes([0x90, 76, 100]), bytes([0x80, 76, 0])]
        until(lambda: sorted(sounding(daemon)) == [72, 76], 2)
    until(lambda: sounding(daemon) == [], 2)
    for _ in range(3):  # at once
        with keyboard() as (client, waiting):
            found = client.get_ports(is_midi=True, is_output=True)
            (own,) = [port for port in found if port.name.startswith(NAME)]
            until(lambda client=client, own=own: client.get_all_connections(own), 2)
            waiting.append(bytes([0x90, 60, 100]))
            until(lambda: sounding(daemon) == [60], 2)
    until(lambda: sounding(daemon) == [], 2)


def test_two_keyboards_of_one_name_are_two(daemon: ControlClient) -> None:
    with keyboard() as (_, first):
        with keyboard() as (_, second):
            until(lambda: len(daemon.call("status")["midi"]["connected"]) == 2, 3)
            first.append(bytes([0x90, 60, 100]))
            second.append(bytes([0x90, 64, 100]))
            until(lambda: sorted(sounding(daemon)) == [60, 64], 2)
        until(lambda: sounding(daemon) == [60], 2)
    until(lambda: sounding(daemon) == [], 2)
