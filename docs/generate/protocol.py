"""docs/control-protocol.md, from the protocol's types and the descriptions in ``tables``."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from schema import fields, paragraph, summary, table
from tables import CODES, REQUESTS, TOPICS

from specdiffd.control import protocol, server

KIB = 1024
WIDTH = 130  # of a line of an example
HEAD = f"""# Control protocol

<!-- Written by `make docs` from specdiffd/control/protocol.py and docs/generate/. Change those. -->

Version {protocol.VERSION}. How to use it from the command line and from Python: [playing.md](playing.md#control-it-from-a-program). Who can
reach the sockets: [SECURITY.md](../SECURITY.md).

## Sockets

| socket | kind | default address | setting |
|---|---|---|---|
| requests | ROUTER | `ipc://$XDG_RUNTIME_DIR/specdiffd/control.sock` | `control.endpoint` |
| telemetry | PUB | `ipc://$XDG_RUNTIME_DIR/specdiffd/telemetry.sock` | `control.publish` |

Clients are REQ, DEALER or ROUTER sockets for requests, and SUB sockets for telemetry. Without `$XDG_RUNTIME_DIR` the folder is
`specdiffd-UID` in the temporary folder. A telemetry message has two parts: the topic, and a JSON object.
"""


def protocol_page() -> str:
    """The page as Markdown.

    Raises:
        KeyError: a request has no entry in ``tables.REQUESTS``.
        ControlError: the example of a request is not a valid one.
    """
    requests = "\n".join(part for command in protocol.COMMANDS for part in _request(command))
    return "\n".join([HEAD, _envelopes(), "## Requests\n", requests, _telemetry(), _codes(), _limits()])


def _envelopes() -> str:
    request = [(f"`{f.name}`", f.words.kind, _optional(f.default)) for f in fields(protocol.Request)]
    reply = [(f"`{f.name}`", f.words.kind, _optional(f.default)) for f in fields(protocol.Reply)]
    head = ("field", "type", "default")
    return (
        f"## Messages\n\nA request is one JSON object. A field that is not in this table is refused.\n\n{table(head, *request)}\n\n"
        "`id` is the client's own; the reply carries it again. A reply has `result` if `ok` is true, else `error`. Its fields that have their\n"
        f"default are left out.\n\n{table(head, *reply)}\n\n"
        "`error` has a `code` for programs and a `message` for people. `id` is null if the request's could not be read.\n"
    )


def _optional(default: str) -> str:
    return f"`{default}`" if default else "must be given"


def _request(command: str) -> Iterator[str]:
    """A request's section."""
    kind, entry = protocol.COMMANDS[command], REQUESTS[command]
    yield f"### {command}\n"
    yield paragraph(f"{summary(kind)} {entry.more}") + "\n"
    rows = [(f"`{f.name}`", f.words.kind, f.words.range, _optional(f.default)) for f in fields(kind)]
    yield (table(("argument", "type", "range", "default"), *rows) if rows else "It takes no arguments.") + "\n"
    yield paragraph(f"Result: {entry.result}") + "\n"
    yield f"```json\n{_asked(command, entry.example)}\n{_answered(entry.answer)}\n```\n"


def _asked(command: str, arguments: Mapping[str, Any]) -> str:
    """A request, checked as the daemon checks it."""
    asked = {"v": protocol.VERSION, "id": 1, "cmd": command, **({"args": arguments} if arguments else {})}
    protocol.parse(msgspec.json.encode(asked))
    return json.dumps(asked)


def _answered(result: Any) -> str:
    """A reply as the daemon encodes it, with one line for each field of a long result."""
    reply = json.loads(protocol.encode(protocol.Reply(1, True, result=result)))
    if len(text := json.dumps(reply)) <= WIDTH:
        return text
    inside = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in reply.pop("result").items())
    return f'{json.dumps(reply)[:-1]}, "result": {{\n{inside}\n}}}}'


def _telemetry() -> str:
    rows = [(f"`{name}`", topic.when, topic.content) for name, topic in TOPICS.items()]
    examples: list[tuple[str, Any]] = [(name, topic.example) for name, topic in TOPICS.items() if topic.example]
    lines = "\n".join(f"{name} {json.dumps(example)}" for name, example in examples)
    return f"## Telemetry\n\n{table(('topic', 'when', 'content'), *rows)}\n\nExamples, each as topic and content:\n\n```\n{lines}\n```\n"


def _codes() -> str:
    rows = [(f"`{name}`", code.said_by, code.meaning) for name, code in CODES.items()]
    return f"## Error codes\n\n{table(('code', 'from', 'meaning'), *rows)}\n"


def _limits() -> str:
    part = server.MAX_PARTS * protocol.MAX_MESSAGE_BYTES
    rows = [
        ("a request, all parts together", f"{protocol.MAX_MESSAGE_BYTES // KIB} KiB, {server.MAX_PARTS} parts", "error `too_long`"),
        ("one part of a request", f"{part // KIB**2} MiB", "the connection is closed"),
        ("messages waiting for a client that does not read", f"{server.HIGH_WATER:,}", "the client misses the rest"),
        ("telemetry messages waiting to be sent", f"{server.QUEUE}", "the oldest are dropped and counted (`dropped_telemetry`)"),
        ("the path of an `ipc://` address", "107 bytes (103 on macOS)", "refused at the start"),
    ]
    return f"## Limits\n\n{table(('what', 'limit', 'beyond it'), *rows)}\n"
