"""Ending with the process that started us: a node whose graph was killed must not run on unnoticed."""

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "PRAXON_PARENT_PID"
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent dies, if it set ``PARENT_VARIABLE`` to its process id.

    Nodes that people start themselves carry no such variable and outlive their shell as usual.
    """
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)
