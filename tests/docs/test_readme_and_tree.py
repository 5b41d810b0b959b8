"""The README is short, and the tree in docs/architecture.md matches the package."""

import re

from pages import ROOT, blocks

PACKAGE = ROOT / "specdiffd"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_tree_is_the_packages() -> None:
    (tree,) = [block.text for block in blocks(ROOT / "docs/architecture.md") if block.text.startswith("specdiffd/\n")]
    described = re.findall(r"^  (\S+) +\S", tree, re.MULTILINE)
    folders = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}  # a folder that was removed may have left its caches
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert len(described) == len(set(described))
    assert set(described) == folders | modules
