"""What the processes of a daemon have loaded."""

import sys
from pathlib import Path

import pytest
from running import children, daemon


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_process_that_plays_sines_has_loaded_torch(tmp_path: Path) -> None:
    with daemon(tmp_path) as (process, client):
        for pid in (process.pid, *children(client).values()):
            assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
