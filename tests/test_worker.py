"""The engine process, as its supervisor sees it."""

import multiprocessing
from typing import Any

from specdiffd.config import Config
from specdiffd.io.shared import SharedBlock
from specdiffd.worker import run_engine


def test_an_engine_that_loads_says_what_it_does() -> None:
    """So that one that takes long is told from one that is stuck."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    bell = spawn.Pipe(duplex=False)
    process = spawn.Process(target=run_engine, args=(SharedBlock(), Config(), False, theirs, [bell[0]]))
    process.start()
    said: list[tuple[str, Any]] = []
    while not said or said[-1][0] == "working":
        assert ours.poll(60), said
        said.append(ours.recv())
    ours.send("stop")
    process.join(20)
    assert said[-1] == ("loaded", None)
    graphs = [what for _, what in said[:-1] if what.startswith("making graph")]
    assert graphs[0].endswith(f"1 of {len(graphs)}")
    assert process.exitcode == 0
