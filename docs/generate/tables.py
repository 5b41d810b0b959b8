"""Descriptions for the protocol page: results, examples, topics, error codes. A test checks that none is missing."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Request(NamedTuple):
    """One kind of request."""

    result: str
    answer: Any  # a result, for the example
    example: Mapping[str, Any] = MappingProxyType({})  # arguments
    more: str = ""  # follows the first line of the type's docstring


class Topic(NamedTuple):
    """One topic of telemetry."""

    when: str
    content: str
    example: dict[str, Any] | None = None


class Code(NamedTuple):
    """One error code."""

    said_by: str  # the daemon, or the client of the package where no usable reply came
    meaning: str


DAEMON, CLIENT = "daemon", "`specdiffd ctl`"
NOTHING = "an empty object. The event is in the queue then; what it does is heard one render delay later."
STATUS = {
    "version": "0.1.0",
    "uptime_s": 12.3,
    "instrument": "builtin",
    "mode": "live",
    "render_delay_ms": 27.2,
    "gain_db": 0.0,
    "sounding_notes": [{"channel": 1, "pitch": 60, "velocity": 100, "program": 0}],
    "programs": [0] * 16,
    "forecast_s": 1.94,
    "asleep": False,
    "revision": {"count": 1, "min_ms": 5.1, "p50_ms": 5.1, "p99_ms": 5.1, "max_ms": 5.1},
    "slack": {"count": 1, "min_ms": 9.8, "p50_ms": 9.8, "p99_ms": 9.8, "max_ms": 9.8},
    "counters": {"events": 1, "revisions": 1, "late_splices": 0, "restarts": {"io": 0, "engine": 0, "standby": 0}},
    "processes": {"io": 4711, "engine": 4712, "standby": 4713},
    "audio": {"output": "wav:take.wav", "waiting": None, "output_latency_ms": 5.33, "peak": 0.2113},
    "midi": {"api": "alsa", "connected": ["KeyLab 49"]},
}
REQUESTS = {
    "ping": Request("`version` of the daemon and `protocol`, the version spoken here.", {"version": "0.1.0", "protocol": 1}),
    "status": Request(
        "one object; its fields and counters are explained in [service.md](service.md#status-and-counters). The example leaves out most "
        "counters.",
        STATUS,
    ),
    "panic": Request(
        "an empty object.", {}, more="Controllers are reset; programs and volumes stay. The output is mute from its next block on."
    ),
    "note_on": Request(NOTHING, {}, {"pitch": 60, "velocity": 100, "channel": 1}),
    "note_off": Request(NOTHING, {}, {"pitch": 60}),
    "program": Request(NOTHING, {}, {"program": 73, "channel": 2}),
    "midi": Request(
        NOTHING, {}, {"status": 176, "data1": 64, "data2": 127}, "What each one does: [midi-implementation.md](midi-implementation.md)."
    ),
    "gain": Request("`gain_db`, the gain from now on.", {"gain_db": -6.0}, {"db": -6}),
    "set": Request(
        "`key` and its new `value`.",
        {"key": "audio.gain_db", "value": -3.0},
        {"key": "audio.gain_db", "value": -3},
        "`audio.gain_db` is the only key that can change; all others give the error `needs_restart`.",
    ),
    "get": Request(
        "`key` and its `value`.",
        {"key": "engine.mode", "value": "live"},
        {"key": "engine.mode"},
        "Keys: [configuration.md](configuration.md).",
    ),
    "shutdown": Request("an empty object. The daemon fades out and ends.", {}),
}
TOPICS = {
    "status": Topic("once a second", "the same as the result of [status](#status)"),
    "latency": Topic(
        "for each revision",
        "how long each of its stages took, by the stage's name, and `slack`: how much time was left before the sound was due; in ms",
        {"prior": 1.6, "draft": 3.2, "splice": 0.9, "tokens": 0.3, "encoder": 1.7, "decoder": 4.2, "vocoder": 3.2, "slack": 9.8},
    ),
    "midi": Topic(
        "for each event that was played, the control socket's too; in a flood, everything but note-on may be left out",
        "`time_ns` of arrival on the machine's monotonic clock, and the bytes `status`, `data1`, `data2`",
        {"time_ns": 81235017733912, "status": 144, "data1": 60, "data2": 100},
    ),
}
CODES = {
    "malformed": Code(DAEMON, "the message is not a JSON object with the fields of a request"),
    "version": Code(DAEMON, "`v` is not a version that is spoken here"),
    "unknown_command": Code(DAEMON, "there is no such `cmd`; the message lists those that there are"),
    "bad_arguments": Code(
        f"{DAEMON}, {CLIENT}", "an argument is missing, unknown, of the wrong type or out of range; the message names it"
    ),
    "too_long": Code(DAEMON, "the message is larger than the limit below"),
    "busy": Code(DAEMON, "the queue of events is full; the event was dropped"),
    "unknown_key": Code(DAEMON, "`get` or `set` of a key that does not exist; the message lists those that do"),
    "bad_value": Code(DAEMON, "`set` with a value that the key does not take"),
    "needs_restart": Code(DAEMON, "`set` of a key that cannot change while the daemon runs"),
    "internal": Code(DAEMON, "the request failed by an error of the daemon's own, which is counted (`control_errors`) and logged"),
    "no_answer": Code(CLIENT, "no daemon answered in time"),
    "bad_reply": Code(CLIENT, "what answered is not a daemon, or its reply cannot be printed"),
    "bad_endpoint": Code(CLIENT, "there is no such kind of address"),
}
