import pytest

from specdiffd.base.text import clipped, printable, told


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, häßlich, 日本語 🎹", "plain, häßlich, 日本語 🎹"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x00\x7f\x9b31m", "\\x00\\x7f\\x9b31m"),  # 0x9b alone begins a sequence, too
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),  # turns the direction of writing
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),  # end a line for some
        ("\ud800\udcff", "\\ud800\\udcff"),  # cannot be encoded
        ("", ""),
    ],
)
def test_nothing_that_a_terminal_obeys_is_left(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode().decode().isprintable()


def test_every_character_comes_out_printable_and_encodable() -> None:
    everything = "".join(map(chr, range(0x110000)))
    shown = printable(everything)
    assert shown.isprintable()
    shown.encode()


def test_long_texts_keep_both_ends() -> None:
    text = clipped("begin" + "x" * 100_000 + "end", 50)
    assert len(text) <= 50
    assert text.startswith("begin")
    assert text.endswith("end")
    assert clipped("x" * 50, 50) == "x" * 50


def test_errors_are_told_whatever_they_do() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RecursionError

    assert told(ValueError("a\x1bb")) == "a\\x1bb"
    assert told(Unspeakable()) == "(its text raises RecursionError)"
    assert len(told(ValueError("x" * 1_000_000))) <= 1500
