"""Choosing MuJoCo's OpenGL backend before MuJoCo is imported: EGL on a headless Linux machine that has it."""

import ctypes
import os
import sys


def select_backend() -> None:
    """Set ``MUJOCO_GL=egl`` where nothing else is chosen, there is no display, and libEGL can be loaded.

    Naming a backend whose library is absent would make ``import mujoco`` itself fail.
    """
    if "MUJOCO_GL" in os.environ or not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return
    os.environ["MUJOCO_GL"] = "egl"


select_backend()
