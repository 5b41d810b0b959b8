"""Functions that ask the system for something return the outcome in words."""

import os
import subprocess
import sys

import pytest

from specdiffd.base import priority

SAY = """
import os, resource
from specdiffd.base import priority
for name in ("RTPRIO", "MEMLOCK"):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (0, 0))
os.setuid(65534)
print(priority.real_time(), priority.keep_memory(), sep=chr(10))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="root can become somebody who may do nothing")
def test_a_refusal_names_the_limit_that_would_allow_it() -> None:
    refused = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[:2] for line in refused] == [["no", "real-time"], ["memory", "is"]]
    for line, limit in zip(refused, ("LimitRTPRIO", "LimitMEMLOCK"), strict=True):
        assert limit in line


def test_the_priority_is_lowered_only_if_that_can_be_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(os, "setpriority", lambda which, who, niceness: done.append(niceness))
    monkeypatch.setattr(os, "getpriority", lambda which, who: 3)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(priority.resource, "getrlimit", lambda _: (16, 16))
    assert priority.step_back() == 3
    assert done == []
    for limit in (17, priority.resource.RLIM_INFINITY):
        monkeypatch.setattr(priority.resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert priority.step_back() == 3
    assert done == [10, 10]


NICENESS = """
import os, threading
from specdiffd.base import priority
before = priority.step_back()
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
def now():
    return [os.getpriority(os.PRIO_PROCESS, task) for task in (0, thread.native_id)]
print(now())
priority.come_back(before)
print(now())
stop.set()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="root may come back")
def test_all_threads_come_back_to_where_the_process_was() -> None:
    begun = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 2)  # the tests may run at some niceness themselves
    said = subprocess.run(["nice", "-n", "2", sys.executable, "-c", NICENESS], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [str([max(10, begun)] * 2), str([begun] * 2)]
