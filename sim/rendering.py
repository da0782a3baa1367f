"""Cameras: small offscreen pictures of a scene, and whether this machine can make them at all."""

import os
import weakref
from functools import cache
from typing import Protocol

import mujoco
import numpy as np

from praxon.errors import RobotError


class Viewed(Protocol):
    """What can be seen: a compiled model, its state, its cameras by name."""

    model: mujoco.MjModel
    data: mujoco.MjData

    def camera(self, name: str) -> int:
        """Index of a camera."""


class Camera:
    """A named camera rendered offscreen; the OpenGL context is made at the first picture.

    Args:
        scene: what is seen.
        name: of the camera in the scene.
        height, width: of the picture [pixels].
    """

    def __init__(self, scene: Viewed, name: str, height: int, width: int) -> None:
        self.scene = scene
        self.camera = scene.camera(name)
        self.height, self.width = height, width
        self._renderer: mujoco.Renderer | None = None

    def render(self) -> np.ndarray:
        """The picture now, (height, width, 3) uint8 RGB."""
        if self._renderer is None:
            missing = rendering_problem()
            if missing:
                raise RobotError(missing)
            self._renderer = mujoco.Renderer(self.scene.model, self.height, self.width)
            # Freed with this object or before the interpreter's own teardown, by which time OpenGL is gone.
            self._free = weakref.finalize(self, self._renderer.close)
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._renderer.update_scene(self.scene.data, self.camera)
        return self._renderer.render()

    def close(self) -> None:
        """Give the OpenGL context back."""
        if self._renderer is not None:
            self._free()
            self._renderer = None


@cache
def rendering_problem() -> str | None:
    """None where pictures can be rendered here, else one sentence saying what is missing."""
    try:
        context = mujoco.GLContext(16, 16)
        context.make_current()
        context.free()
    except Exception as error:
        backend = os.environ.get("MUJOCO_GL", "the default backend")
        return (
            f"Rendering is not possible here (OpenGL through {backend}: {error}); "
            "on Debian or Ubuntu install libegl1 and libgl1-mesa-dri."
        )
    return None
