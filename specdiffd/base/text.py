"""Text from outside, made fit for a terminal, a log or a reply: one line, of bounded length, with nothing that a terminal obeys."""

from __future__ import annotations

# Characters of an error's text. Less would cut the list of all configuration keys (700) out of the answer to a wrong one; more lets a
# request of 64 kB fill the log with itself.
LONGEST = 1500


def printable(text: str) -> str:
    """``text`` on one line; what a terminal would obey, or no encoding can take, stands there as an escape such as ``\\x1b``."""
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
    """What an error says, printable and clipped, whatever its own ``__str__`` does."""
    try:
        text = str(error)
    except Exception as another:
        text = f"(its text raises {type(another).__name__})"
    return printable(clipped(text))
