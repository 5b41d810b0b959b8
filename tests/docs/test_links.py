"""Targets of links exist, and so do the files that pages name."""

import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, anchors, links, prose

NAMED = re.compile(r"`((?:specdiffd|tests|docs|systemd|\.ci)/[\w./-]+)`")


def problems(page: Path, target: str) -> str | None:
    """The error of a link; empty if it has none."""
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists():
        return f"{target}: no such file"
    if anchor and anchor not in anchors(path):
        return f"{target}: no such heading; there are {', '.join(sorted(anchors(path)))}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [text for target in links(page) if (text := problems(page, target))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    assert [name for name in NAMED.findall(prose(page)) if not (ROOT / name).exists()] == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page, other = tmp_path / "a.md", tmp_path / "b.md"
    other.write_text("# One thing: `it`\n")
    page.write_text("[1](b.md#one-thing-it) [2](b.md#two) [3](c.md) [4](https://example.org/x.md)\n```\n[5](d.md)\n```\n")
    assert [target for target in links(page) if problems(page, target)] == ["b.md#two", "c.md"]
