"""What came of asking is said, whether it was allowed or not."""

import os
import subprocess
import sys

import pytest

from specdiffd import priority

SAY = """
import os, resource
from specdiffd import priority
for name in ("RTPRIO", "NICE", "MEMLOCK"):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (0, 0))
os.setuid(65534)
print(priority.real_time(), priority.preferred(), priority.keep_memory(), sep=chr(10))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="root can become somebody who may do nothing")
def test_what_is_refused_is_said_with_the_limit_that_allows_it() -> None:
    refused = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[:2] for line in refused] == [["no", "real-time"], ["no", "preferred"], ["memory", "is"]]
    for line, limit in zip(refused, ("LimitRTPRIO", "LimitNICE", "LimitMEMLOCK"), strict=True):
        assert limit in line


def test_stepping_back_is_only_done_when_it_can_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(os, "setpriority", lambda which, who, niceness: done.append(niceness))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(priority.resource, "getrlimit", lambda _: (0, 0))
    priority.step_back()
    assert done == []
    monkeypatch.setattr(priority.resource, "getrlimit", lambda _: (31, 31))
    priority.step_back()
    assert done == [19]
