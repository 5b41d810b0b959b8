"""What the system may be asked for so that sound is not late: scheduling before others, memory that stays."""

from __future__ import annotations

import ctypes
import os
import resource

REAL_TIME_PRIORITY = 20
ENGINE_NICENESS = -11  # what RealtimeKit gives to threads that are important but not real-time
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


def step_back() -> None:
    """Less processor time than all others for this process, if ``preferred`` can take it back later."""
    if hasattr(os, "sched_setscheduler") and (os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20 - ENGINE_NICENESS):
        os.setpriority(os.PRIO_PROCESS, 0, 19)


def preferred() -> str:
    """More processor time than others for this process, all its threads; returns what came of it."""
    try:
        for thread in os.listdir("/proc/self/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), ENGINE_NICENESS)
    except FileNotFoundError:
        return "no preferred scheduling on this system"
    except PermissionError as error:
        return f"no preferred scheduling ({error.strerror}): the limit nice allows it (systemd: LimitNICE={ENGINE_NICENESS})"
    return f"preferred scheduling, niceness {ENGINE_NICENESS}"


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
