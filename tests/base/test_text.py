import pytest

from specdiffd.base.text import clipped, printable, told


@pytest.mark.parametrize(
    ("text", "printable_text"),
    [
        ("plain, häßlich, 日本語 🎹", "plain, häßlich, 日本語 🎹"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x00\x7f\x9b31m", "\\x00\\x7f\\x9b31m"),  # 0x9b alone begins a sequence as well
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),  # change the direction of writing
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),  # end a line in some programs
        ("\ud800\udcff", "\\ud800\\udcff"),  # cannot be encoded
        ("", ""),
    ],
)
def test_control_characters_are_escaped(text: str, printable_text: str) -> None:
    assert printable(text) == printable_text
    assert printable(text).encode().decode().isprintable()


def test_every_character_comes_out_printable_and_encodable() -> None:
    everything = "".join(map(chr, range(0x110000)))
    printable_text = printable(everything)
    assert printable_text.isprintable()
    printable_text.encode()


def test_long_texts_keep_both_ends() -> None:
    text = clipped("begin" + "x" * 100_000 + "end", 50)
    assert len(text) <= 50
    assert text.startswith("begin")
    assert text.endswith("end")
    assert clipped("x" * 50, 50) == "x" * 50


def test_an_error_has_a_text_even_if_its_str_raises() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RecursionError

    assert told(ValueError("a\x1bb")) == "a\\x1bb"
    assert told(Unspeakable()) == "(its text raises RecursionError)"
    assert len(told(ValueError("x" * 1_000_000))) <= 1500
