"""What the system may be asked for so that sound is not late: scheduling before others, memory that stays."""

from __future__ import annotations

import ctypes
import os
import resource

REAL_TIME_PRIORITY = 20
# The niceness of a standby that loads: a tenth of what the player gets. At 19, beside two busy programs, it got a seventieth of a core and
# was never ready.
BACKGROUND = 10
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # <sys/mman.h> of Linux


def real_time() -> str:
    """Real-time scheduling for this process and the threads that it starts from now on; returns what came of it."""
    if not hasattr(os, "sched_setscheduler"):
        return "no real-time scheduling on this system"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REAL_TIME_PRIORITY))
    except OSError as error:
        return f"no real-time scheduling ({error.strerror}): the limit rtprio allows it (systemd: LimitRTPRIO=)"
    return f"real-time scheduling, priority {REAL_TIME_PRIORITY}"


def step_back() -> int:
    """Less processor time than others for this process, if ``come_back`` can undo it; returns its niceness before."""
    if not hasattr(os, "sched_setscheduler"):
        return 0
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
    if os.geteuid() == 0 or limit == resource.RLIM_INFINITY or limit >= 20 - niceness:
        os.setpriority(os.PRIO_PROCESS, 0, max(niceness, BACKGROUND))
    return niceness


def come_back(niceness: int) -> None:
    """As much processor time as others for this process, all its threads.

    Not more: an audio server that is not scheduled in real time would starve. With niceness -11, JACK's dummy server left out
    up to 190 ms at a time, and no splice was late more rarely.
    """
    if hasattr(os, "sched_setscheduler") and os.getpriority(os.PRIO_PROCESS, 0) != niceness:
        for thread in os.listdir("/proc/self/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), niceness)


def keep_memory() -> str:
    """Keep in memory whatever this process touches; returns what came of it."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0:
            return "memory is locked"
        problem = os.strerror(ctypes.get_errno())
    except (OSError, AttributeError) as error:
        problem = str(error)
    return f"memory is not locked ({problem}): the limit memlock allows it (systemd: LimitMEMLOCK=)"
