"""Keeping a library from making this process a real-time one.

SVT-AV1, where it may (as root, or with CAP_SYS_NICE), gives the thread that opens an encoder and all of its own SCHED_FIFO at the
highest priority. Every thread begun later inherits that, and one that waits by spinning then starves the machine.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

THREADS = Path("/proc/self/task")


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Threads are scheduled afterwards as they were before; those begun meanwhile as this one was."""
    if sys.platform != "linux":
        yield
        return
    mine = _scheduling(0)
    before = {thread: _scheduling(thread) for thread in _threads()}
    try:
        yield
    finally:
        for thread in _threads():
            wanted = before.get(thread, mine)
            if wanted is not None and _scheduling(thread) != wanted:
                with suppress(OSError):  # it has ended meanwhile
                    os.sched_setscheduler(thread, wanted[0], os.sched_param(wanted[1]))


def _threads() -> list[int]:
    return [int(entry.name) for entry in THREADS.iterdir()]


def _scheduling(thread: int) -> tuple[int, int] | None:
    """Policy and priority; none of a thread that is no more."""
    try:
        return os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority
    except OSError:
        return None
