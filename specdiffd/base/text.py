"""Makes text from outside fit for a terminal, a log or a reply: one line of bounded length without control characters."""

from __future__ import annotations

# Characters of an error's text. With fewer, the list of all configuration keys (700) would be cut from the answer to a wrong key; with more,
# a request of 64 kB could fill the log.
LONGEST = 1500


def printable(text: str) -> str:
    """``text`` on one line. Control characters, and characters that cannot be encoded, become escapes such as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def clipped(text: str, longest: int = LONGEST) -> str:
    """``text`` without its middle if it has more than ``longest`` characters."""
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def told(error: BaseException) -> str:
    """The text of an error, printable and clipped, even if its ``__str__`` raises."""
    try:
        text = str(error)
    except Exception as another:
        text = f"(its text raises {type(another).__name__})"
    return printable(clipped(text))
