"""Writes the pages that are made from the package's types: ``python docs/generate``; with ``--check`` it only compares."""

import sys
from pathlib import Path

from configuration import configuration_page
from protocol import protocol_page

DOCS = Path(__file__).parents[1]
PAGES = {"configuration.md": configuration_page, "control-protocol.md": protocol_page}


def outdated() -> list[str]:
    """The pages that differ from what would be written."""
    return [name for name, page in PAGES.items() if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != page()]


def main() -> None:
    """Write the pages. With ``--check``, exit with 1 and name them if they are out of date."""
    old = outdated()
    if sys.argv[1:] == ["--check"]:
        sys.exit(f"out of date: {', '.join(old)}; make docs writes them" if old else 0)
    for name in old:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")


if __name__ == "__main__":
    main()
