"""Point clouds from a depth camera: pixels to points in the robot's base frame, cropped, thinned out evenly.

Shapes: H W pixels of the depth picture, M points found, N points kept.
"""

import weakref
from math import radians, tan

import mujoco
import numpy as np

from praxon.errors import ConfigError, RobotError
from praxon.sim.rendering import rendering_problem
from praxon.sim.scene import Scene

DEPTH_SIZE = (128, 128)
"""Height and width of the depth picture [pixels]: part of what a point cloud is, so it is no setting."""
ABOVE_TABLE_M = 0.005
"""Points lower than this are left out: the table would take most of them."""


class DepthCamera:
    """A named camera that sees points instead of colours; the OpenGL context is made at the first cloud.

    Args:
        scene: what is seen.
        name: of the camera in the scene.
        num_points: N.

    Raises:
        ConfigError: fewer than one point, or a camera without perspective.
    """

    def __init__(self, scene: Scene, name: str, num_points: int) -> None:
        if num_points < 1:
            raise ConfigError(f"A point cloud of {num_points} points was asked for; at least 1 is needed.")
        self.scene, self.camera, self.num_points = scene, scene.camera(name), num_points
        if scene.model.cam_projection[self.camera] != mujoco.mjtProjection.mjPROJ_PERSPECTIVE:
            raise ConfigError(f"Camera '{name}' is orthographic; a point cloud needs one with perspective.")
        workspace = scene.robot.workspace
        self._lower = np.array([*workspace.lower[:2], max(workspace.lower[2], ABOVE_TABLE_M)])
        self._upper = np.array(workspace.upper)
        self._rays_HW3 = camera_rays(*DEPTH_SIZE, radians(scene.model.cam_fovy[self.camera]))
        self._renderer: mujoco.Renderer | None = None

    def points(self) -> np.ndarray:
        """The cloud now (N, 3) float32 [m], in the robot's base frame, inside its workspace; see ``exactly``."""
        point_M3 = self.visible()
        inside = ((point_M3 >= self._lower) & (point_M3 <= self._upper)).all(axis=1)
        return exactly(point_M3[inside], self.num_points)

    def visible(self) -> np.ndarray:
        """Every point that the camera sees (M, 3) [m], in the robot's base frame."""
        if self._renderer is None:
            missing = rendering_problem()
            if missing:
                raise RobotError(missing)
            self._renderer = mujoco.Renderer(self.scene.model, *DEPTH_SIZE)
            # Freed with this object or before the interpreter's own teardown, by which time OpenGL is gone.
            self._free = weakref.finalize(self, self._renderer.close)
            self._renderer.enable_depth_rendering()
        self._renderer.update_scene(self.scene.data, self.camera)
        depth_HW = self._renderer.render()
        rotation = self.scene.data.cam_xmat[self.camera].reshape(3, 3)
        point_M3 = (self._rays_HW3 * depth_HW[..., None]).reshape(-1, 3) @ rotation.T
        return point_M3 + self.scene.data.cam_xpos[self.camera]

    def close(self) -> None:
        """Give the OpenGL context back."""
        if self._renderer is not None:
            self._free()
            self._renderer = None


def camera_rays(height: int, width: int, fovy_rad: float) -> np.ndarray:
    """Points (H, W, 3) at depth 1 in the camera's frame (x right, y up, looking along -z), through each pixel's centre."""
    focal = height / 2 / tan(fovy_rad / 2)
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = -(np.arange(height) + 0.5 - height / 2) / focal
    return np.stack([*np.meshgrid(x, y), -np.ones((height, width))], axis=-1)


def exactly(point_M3: np.ndarray, count: int) -> np.ndarray:
    """N points (N, 3) float32: the farthest ones where there are more, repeated in turn where fewer, zero where none."""
    if len(point_M3) == 0:
        return np.zeros((count, 3), np.float32)
    if len(point_M3) > count:
        point_M3 = point_M3[farthest_points(point_M3, count)]
    return np.resize(point_M3, (count, 3)).astype(np.float32)


def farthest_points(point_M3: np.ndarray, count: int) -> np.ndarray:
    """Indices (count,) by farthest point sampling: the one farthest from the centroid, then always the one farthest from
    those that were taken; of equally far ones the first (Eldar et al., IEEE Transactions on Image Processing 1997)."""
    axes_3M = np.ascontiguousarray(point_M3.T, dtype=np.float32)
    center_3 = axes_3M.mean(axis=1)
    away_M = np.full(len(point_M3), np.inf, np.float32)
    taken = np.empty(count, np.int64)
    taken[0] = _square_distance(axes_3M, center_3).argmax()
    for i in range(1, count):
        np.minimum(away_M, _square_distance(axes_3M, axes_3M[:, taken[i - 1]]), out=away_M)
        taken[i] = away_M.argmax()
    return taken


def _square_distance(axes_3M: np.ndarray, point_3: np.ndarray) -> np.ndarray:
    difference = axes_3M - point_3[:, None]
    return np.einsum("am,am->m", difference, difference)
