"""Describes types of the package in words: kinds and ranges of their values."""

import json
import textwrap
import types
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

WORDS = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "`true` or `false`",
    type(None): "`null`",
    msgspec.Raw: "object",
    Any: "any JSON",
}


class Words(NamedTuple):
    """A type in words."""

    kind: str
    range: str


class Field(NamedTuple):
    """One field of a struct."""

    name: str
    words: Words
    default: str  # as YAML and JSON write it; empty if the field must be given


def fields(struct: type[msgspec.Struct]) -> list[Field]:
    """A struct's fields, in order."""
    hints = get_type_hints(struct, include_extras=True)
    return [Field(f.name, describe(hints[f.name]), written(f.default)) for f in msgspec.structs.fields(struct)]


def summary(struct: type[msgspec.Struct]) -> str:
    """The first line of a struct's docstring."""
    return (struct.__doc__ or "").splitlines()[0]


def describe(kind: Any) -> Words:
    """A type annotation in words.

    Raises:
        KeyError: there are no words for it yet; add them here.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return Words(describe(arguments[0]).kind, "; ".join(filter(None, map(_limits, arguments[1:]))))
    if origin is Literal:
        return Words("one of", ", ".join(f"`{value}`" for value in arguments))
    if origin in (Union, types.UnionType):
        return _either(arguments)
    if origin is tuple:
        return Words(f"list of {describe(arguments[0]).kind}s", "")
    if origin is dict:
        return Words("object", "")
    return Words(WORDS[kind], "")


def _either(kinds: tuple[Any, ...]) -> Words:
    """A union in words; a literal in it is named by its value."""
    names, ranges = [], []
    for kind in kinds:
        words = describe(kind)
        literal = get_origin(kind) is Literal
        names += words.range.split(", ") if literal else words.kind.split(" or ")
        ranges.append("" if literal else words.range)
    return Words(f"{', '.join(names[:-1])} or {names[-1]}", "; ".join(filter(None, ranges)))


def _limits(meta: msgspec.Meta) -> str:
    """The values that a constraint allows."""
    if meta.max_length is not None:
        return f"{meta.min_length or 0} to {meta.max_length} characters"
    if meta.gt is not None:
        return f"more than {_number(meta.gt)}, at most {_number(meta.le)}"
    return f"{_number(meta.ge)} to {_number(meta.le)}"


def _number(value: Any) -> str:
    whole = int(value)
    if whole > 2**32 and (whole + 1).bit_count() == 1:
        return f"2^{whole.bit_length()} - 1"
    return str(value) if value != whole else str(whole)


def written(value: Any) -> str:
    """A default as YAML and JSON write it; nothing for a field without one."""
    if value is msgspec.NODEFAULT:
        return ""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    return value if isinstance(value, str) else json.dumps(value)


def table(*rows: tuple[str, ...]) -> str:
    """A Markdown table; the first row is its head."""
    head, *rest = rows
    lines = [head, ("---",) * len(head), *rest]
    return "\n".join("|" + "|".join(f" {cell} " if cell != "---" else cell for cell in line) + "|" for line in lines).replace("|  |", "| |")


def paragraph(text: str) -> str:
    """Text in lines; links stay whole."""
    return textwrap.fill(text.strip(), 130, break_long_words=False, break_on_hyphens=False)
