from typing import Any, ClassVar

import pytest

from specdiffd.base.config import MidiConfig
from specdiffd.io import ports
from specdiffd.io.names import matches, strip_number, wanted
from specdiffd.io.ports import RtMidiPorts, unsubscribed
from specdiffd.io.source import Message


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("KeyLab 61:KeyLab 61 MIDI 20:0", "keylab", True),
        ("USB Keystation", "usb*", True),
        ("Midi Through", "KeyLab", False),
        ("A", "?", True),
        ("Clavier é 日本", "clavier É", True),
    ],
)
def test_names_are_matched_not_numbers(name: str, pattern: str, fits: bool) -> None:
    assert matches(name, pattern) is fits


@pytest.mark.parametrize(
    ("name", "stripped"),
    [("KeyLab:KeyLab MIDI 20:0", "KeyLab:KeyLab MIDI"), ("KeyLab 61", "KeyLab 61"), ("128:0", "128:0"), ("x 1:y", "x 1:y")],
)
def test_changing_numbers_are_stripped(name: str, stripped: str) -> None:
    assert strip_number(name) == stripped


def test_our_own_ports_are_not_connected_to() -> None:
    assert wanted(["specdiffd:in", "a:b 20:0", "a:b 24:0", "c"], MidiConfig(connect=("*b*", "spec"))) == ["a:b 20:0", "a:b 24:0"]


CLIENTS = """Client info
  cur  clients : 4

Client   0 : "System" [Kernel]
  Port   0 : "Timer" (Rwe-)
  Port   1 : "Announce" (R-e-)
Client  20 : "KeyLab" [Kernel Legacy]
  Port   0 : "KeyLab MIDI 1" (RWeX) [In/Out]
    Connecting To: 128:0, 129:0
    Connected From: 128:1
Client  24 : "KeyLab" [Kernel]
  Port   0 : "KeyLab MIDI 1" (RWeX)
  Port   1 : "KeyLab MIDI 2" (RWeX)
    Connecting To: 128:0
"""


def test_the_kernel_tells_which_ports_nobody_listens_to_any_more() -> None:
    names = ["KeyLab:KeyLab MIDI 1 20:0", "KeyLab:KeyLab MIDI 1 24:0", "KeyLab:KeyLab MIDI 2 24:1", "gone 30:0"]
    assert unsubscribed(names, CLIENTS) == {names[1], names[3]}


class FakeMidiIn:
    """RtMidi with ports that come and go."""

    there: ClassVar[list[str]] = []
    busy: ClassVar[set[str]] = set()
    opened: ClassVar[list["FakeMidiIn"]] = []

    def __init__(self, api: int, name: str) -> None:
        self.port, self.callback = "", None

    def get_ports(self) -> list[str]:
        return list(self.there)

    def open_port(self, number: int, name: str) -> None:
        if self.there[number] in self.busy:
            raise RuntimeError("device or resource busy")
        self.port = self.there[number]
        self.opened.append(self)

    def set_callback(self, callback: Any) -> None:
        self.callback = callback

    def close_port(self) -> None:
        self.port = ""

    def ignore_types(self, **kinds: bool) -> None:
        assert not kinds["active_sense"]

    def open_virtual_port(self, name: str) -> None:
        pass

    def cancel_callback(self) -> None:
        pass

    def delete(self) -> None:
        pass


@pytest.fixture
def rtmidi(monkeypatch: pytest.MonkeyPatch) -> type[FakeMidiIn]:
    monkeypatch.setattr(ports.rtmidi, "MidiIn", FakeMidiIn)
    monkeypatch.setattr(FakeMidiIn, "there", [])
    monkeypatch.setattr(FakeMidiIn, "busy", set())
    monkeypatch.setattr(FakeMidiIn, "opened", [])
    return FakeMidiIn


def test_ports_of_one_name_are_two_and_end_their_own_notes(rtmidi: type[FakeMidiIn]) -> None:
    heard: list[Message] = []
    found = RtMidiPorts(MidiConfig(connect=("Key",)), 0, heard.append)
    rtmidi.there[:] = ["KeyLab 20:0", "KeyLab 24:0"]
    found.refresh()
    assert found.connected == ["KeyLab 20:0", "KeyLab 24:0"]
    for number, port in enumerate(rtmidi.opened):
        port.callback(([0x90, 60 + number, 100], 0.0))
    rtmidi.there[:] = ["KeyLab 24:0"]
    found.refresh()
    assert found.connected == ["KeyLab 24:0"]
    assert [m[1:] for m in heard] == [(0x90, 60, 100), (0x90, 61, 100), (0x80, 60, 0)]


def test_a_port_that_is_busy_or_vanishes_is_tried_again(rtmidi: type[FakeMidiIn], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = RtMidiPorts(MidiConfig(connect=("*",)), 0, lambda message: None)
    rtmidi.there[:] = ["A 20:0", "B 21:0"]
    rtmidi.busy.add("A 20:0")
    for _ in range(3):
        found.refresh()
    assert found.connected == ["B 21:0"]
    assert sum("cannot be connected now" in record.message for record in caplog.records) == 1
    rtmidi.busy.clear()
    found.refresh()
    assert sorted(found.connected) == ["A 20:0", "B 21:0"]
    monkey = rtmidi.there[:]
    rtmidi.there[:] = [*monkey, "C 22:0"]
    found.names = lambda: [*monkey, "C 22:0"]  # type: ignore[method-assign]
    rtmidi.there[:] = monkey  # C has vanished between listing and opening
    found.refresh()
    assert sorted(found.connected) == ["A 20:0", "B 21:0"]


def test_a_port_that_is_unplugged_and_plugged_in_at_once_is_connected_again(
    rtmidi: type[FakeMidiIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Message] = []
    found = RtMidiPorts(MidiConfig(connect=("*",)), ports.APIS["alsa"], heard.append)
    rtmidi.there[:] = ["A 20:0"]
    monkeypatch.setattr(ports, "unsubscribed", lambda names: set())
    found.refresh()
    rtmidi.opened[0].callback(([0x90, 60, 100], 0.0))
    monkeypatch.setattr(ports, "unsubscribed", lambda names: set(names))
    found.refresh()
    assert len(rtmidi.opened) == 2
    assert found.connected == ["A 20:0"]
    assert heard[-1][1:] == (0x80, 60, 0)
