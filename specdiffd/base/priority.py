"""What a process asks of the system so that sound is not late: real-time scheduling, niceness, locked memory."""

from __future__ import annotations

import ctypes
import os
import resource

REAL_TIME_PRIORITY = 20
# Niceness of a standby while it loads: it gets a tenth of the player's share. At 19, beside two busy programs, it got a seventieth of a
# core and was never ready.
BACKGROUND = 10
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # <sys/mman.h> of Linux


def real_time() -> str:
    """Ask for real-time scheduling of this process and the threads that it starts from now on; returns the outcome in words."""
    if not hasattr(os, "sched_setscheduler"):
        return "no real-time scheduling on this system"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REAL_TIME_PRIORITY))
    except OSError as error:
        return f"no real-time scheduling ({error.strerror}): the limit rtprio allows it (systemd: LimitRTPRIO=)"
    return f"real-time scheduling, priority {REAL_TIME_PRIORITY}"


def step_back() -> int:
    """Lower this process's priority, if ``come_back`` will be allowed to undo that; returns its niceness before."""
    if not hasattr(os, "sched_setscheduler"):
        return 0
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
    if os.geteuid() == 0 or limit == resource.RLIM_INFINITY or limit >= 20 - niceness:
        os.setpriority(os.PRIO_PROCESS, 0, max(niceness, BACKGROUND))
    return niceness


def come_back(niceness: int) -> None:
    """Set the niceness of all threads of this process back to ``niceness``.

    A negative niceness would starve an audio server that is not scheduled in real time: at -11, JACK's dummy server left out up to
    190 ms at a time, and no fewer splices were late.
    """
    if hasattr(os, "sched_setscheduler") and os.getpriority(os.PRIO_PROCESS, 0) != niceness:
        for thread in os.listdir("/proc/self/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), niceness)


def keep_memory() -> str:
    """Lock all memory that this process touches; returns the outcome in words."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0:
            return "memory is locked"
        problem = os.strerror(ctypes.get_errno())
    except (OSError, AttributeError) as error:
        problem = str(error)
    return f"memory is not locked ({problem}): the limit memlock allows it (systemd: LimitMEMLOCK=)"
