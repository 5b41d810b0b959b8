"""What the processes say to each other over pipes: typed structs, encoded as MessagePack.

The supervisor imports this: no numpy, no torch.
"""

from __future__ import annotations

from multiprocessing.connection import Connection

import msgspec

Row = tuple[int, int, int, int]  # a MIDI message: time_ns on the monotonic clock, status, data1, data2


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base of all messages. On the wire, the field ``type`` holds the name of the class."""


# -- from the supervisor to a child ------------------------------------------------------------------------------


class Go(Message, frozen=True):
    """An engine is to play.

    Args:
        sample_rate_hz: of the output stream.
        render_delay_s: how long after an event its sound comes; None: the engine measures it.
        snapshot: the last ``Report.snapshot`` of the engine before this one, compressed with zlib; None: there is none.
        skip_events: leave out the events that came after the snapshot, because two engines have died of them.
        moved_s: how far the stream's time has jumped since the snapshot, because the sample rate changed.
    """

    sample_rate_hz: int
    render_delay_s: float | None = None
    snapshot: bytes | None = None
    skip_events: bool = False
    moved_s: float = 0.0


class Stop(Message, frozen=True):
    """End in order."""


# -- from a child to the supervisor ------------------------------------------------------------------------------


class Working(Message, frozen=True):
    """The child begins something that may take long: it is slow, not stuck."""

    what: str


class Loaded(Message, frozen=True):
    """The engine has loaded its instrument and waits for ``Go``."""


class Alive(Message, frozen=True):
    """A sign of life from a child that waits."""


class EngineReady(Message, frozen=True):
    """The engine plays."""

    instrument: str


class IoReady(Message, frozen=True):
    """The audio stream runs.

    Args:
        audio: the output, in words.
        sample_rate_hz: of the stream.
        midi: the MIDI back end; None: there is none.
        connected: names of the MIDI ports that are connected.
    """

    audio: str
    sample_rate_hz: int
    midi: str | None
    connected: list[str]


class MidiConnections(Message, frozen=True):
    """The connected MIDI ports have changed; ``connected`` names all of them."""

    connected: list[str]


class Waiting(Message, frozen=True):
    """The I/O process has found no audio device and keeps looking for one; ``problem`` says what is missing."""

    problem: str


class Failed(Message, frozen=True):
    """The child cannot start, or go on, and ends with ``exit_code``."""

    problem: str
    exit_code: int


class SoundingNote(msgspec.Struct, frozen=True):
    """A note that is heard now; channels are counted from 1, as people do."""

    channel: int
    pitch: int
    velocity: int
    program: int


class Report(Message, frozen=True):
    """What the engine does, about five times a second. The defaults are those of an engine that has done nothing yet.

    Args:
        counters: what has happened since the engine started, by name.
        revision: how long revisions took, in ms (``Durations.summary``).
        slack: how much later they could have come, in ms; negative: too late.
        programs: one a channel.
        asleep: nothing sounds and nothing is computed.
        queued_events: that have not been taken from the rings.
        latencies: one row a revision since the last report: its laps and its slack in ms, by name.
        midi: messages taken since the last report.
        render_delay_ms: None: not known yet.
        snapshot: scores, ring positions and the earliest event without its sound, pickled; None: as in the report before.
    """

    counters: dict[str, int] = {}
    revision: dict[str, float | int | None] = {}
    slack: dict[str, float | int | None] = {}
    sounding_notes: list[SoundingNote] = []
    programs: list[int] = []
    asleep: bool = True
    queued_events: int = 0
    latencies: list[dict[str, float]] = []
    midi: list[Row] = []
    render_delay_ms: float | None = None
    snapshot: bytes | None = None


Order = Go | Stop
News = Working | Loaded | Alive | EngineReady | IoReady | MidiConnections | Waiting | Failed | Report

_ENCODER = msgspec.msgpack.Encoder()
_ORDERS: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_NEWS: msgspec.msgpack.Decoder[News] = msgspec.msgpack.Decoder(News)


def utf8(text: str) -> str:
    """``text`` from outside, such as a path or a device's name, fit for a message: lone surrogates stand there as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def send(pipe: Connection, message: Message) -> None:
    """Put a message into a pipe; waits while the pipe is full.

    Raises:
        OSError: the other end is gone.
    """
    pipe.send_bytes(_ENCODER.encode(message))


def receive_order(pipe: Connection) -> Order:
    """A child's next message from the supervisor; waits for it.

    Raises:
        EOFError, OSError: the supervisor is gone.
        msgspec.DecodeError: what came is no order.
    """
    return _ORDERS.decode(pipe.recv_bytes())


def decode_news(data: bytes) -> News:
    """A child's message.

    Raises:
        Exception: the bytes are none. Besides ``msgspec.DecodeError``, its decoder may raise a UnicodeDecodeError or a RecursionError.
    """
    return _NEWS.decode(data)
