"""Pictures of an environment: cameras of its MuJoCo model, rendered directly, or whatever its ``render`` returns."""

import atexit
from dataclasses import dataclass
from typing import Any

import cv2
import gymnasium
import mujoco
import numpy as np

from praxon.errors import ConfigError, RobotError, nearest
from praxon.sim.rendering import Camera
from praxon.sim.world import Pictures

RENDERED = "render"
"""The camera that every environment has which can render at all."""


class RenderedView:
    """The pictures of an environment's ``render``, scaled.

    Args:
        env: made with ``render_mode='rgb_array'``.
        height, width: of the pictures [pixels].
    """

    def __init__(self, env: gymnasium.Env, height: int, width: int) -> None:
        self._env, self._size = env, (width, height)
        self._is_open = False

    def render(self) -> np.ndarray:
        """The picture now, (height, width, 3) uint8 RGB.

        Raises:
            RobotError: the environment lacks what it renders with.
        """
        try:
            picture: Any = self._env.render()
        except gymnasium.error.DependencyNotInstalled as error:
            raise RobotError(f"The environment cannot be rendered: {error}.") from error
        if not self._is_open:
            # After the first picture, hence before OpenGL's own teardown: what is registered last is called first.
            atexit.register(self._env.close)
            self._is_open = True
        return np.ascontiguousarray(cv2.resize(np.asarray(picture), self._size, interpolation=cv2.INTER_AREA))

    def close(self) -> None:
        """Nothing: the window is the environment's."""


class TurnedView:
    """Pictures turned by half a circle, for cameras that stand upside down."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def render(self) -> np.ndarray:
        """The picture now, (height, width, 3) uint8 RGB."""
        return np.ascontiguousarray(self._pictures.render()[::-1, ::-1])

    def close(self) -> None:
        """Free what the camera needs."""
        self._pictures.close()


@dataclass
class _Model:
    """A MuJoCo environment's model as a ``praxon.sim.rendering.Camera`` sees it."""

    model: mujoco.MjModel
    data: mujoco.MjData

    def camera(self, name: str) -> int:
        return int(self.model.camera(name).id)


def make_view(env: gymnasium.Env, camera: str, height: int, width: int) -> Pictures:
    """A camera of an environment.

    Args:
        camera: name of a camera of its MuJoCo model, or 'render'.
        height, width: of the pictures [pixels].

    Raises:
        ConfigError: there is no such camera.
    """
    inner: Any = env.unwrapped
    model = getattr(inner, "model", None)
    names = [model.camera(i).name for i in range(model.ncam)] if isinstance(model, mujoco.MjModel) else []
    if camera in names:
        return Camera(_Model(model, inner.data), camera, height, width)
    if camera == RENDERED and env.render_mode == "rgb_array":
        return RenderedView(env, height, width)
    known = [*names, *([RENDERED] if env.render_mode == "rgb_array" else [])]
    raise ConfigError(
        f"The environment has no camera '{camera}'.{nearest(camera, known)} Cameras: {', '.join(known) or 'none'}."
    )
