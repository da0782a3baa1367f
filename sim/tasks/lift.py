"""lift: grasp a cube and hold it in the air."""

from math import dist
from pathlib import Path

import numpy as np

from praxon.contract import Observation
from praxon.sim.expert import ToolTarget
from praxon.sim.grasping import CLOSED_M, GraspExpert
from praxon.sim.scene import Scene
from praxon.sim.symmetry import Anchor, Symmetry
from praxon.sim.task import Task, tolerance

CUBE_HALF_M = GraspExpert.CUBE_HALF_M
AREA = ((0.40, -0.20), (0.60, 0.20))
"""Corners of the rectangle in which the cube lies [m]."""
LIFTED_M = 0.10
"""Height of the cube's underside above the table that counts as lifted [m]."""
MARGIN_M = 0.05
"""How much higher it is brought [m]."""


class Lift(Task):
    """The cube anywhere in ``AREA``, turned by up to 45 degrees."""

    name = "lift"
    instruction = "Lift the cube."
    world = Path(__file__).with_suffix(".xml")
    objects = ("cube",)
    goals = ("cube",)
    time_limit_s = 8.0
    symmetry = Symmetry((Anchor("cube"),), mirror=True)

    def place(self, scene: Scene, rng: np.random.Generator) -> None:
        """The cube on the table."""
        x, y = rng.uniform(*AREA)
        yaw = rng.uniform(-np.pi / 4, np.pi / 4)
        scene.place("cube", np.array([x, y, CUBE_HALF_M]), np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]))

    def goal(self, scene: Scene) -> dict[str, np.ndarray]:
        """The cube above where it lies, as high as the expert brings it."""
        return {"cube": scene.pose(scene.body("cube")) + np.array([0, 0, LIFTED_M + MARGIN_M, 0, 0, 0, 0])}

    def success(self, scene: Scene) -> bool:
        """The cube is up and between the fingers."""
        return self._height(scene) >= LIFTED_M and self._reach(scene) <= 0.03

    def reward(self, scene: Scene) -> float:
        """Half for the tool at the cube, half for the cube's height."""
        up = min(max(self._height(scene) / LIFTED_M, 0.0), 1.0)
        return (tolerance(self._reach(scene), 0.01, 0.2) + up) / 2

    def metrics(self, scene: Scene) -> dict[str, float]:
        """Height of the cube above the table [m]."""
        return {"height_m": self._height(scene)}

    def expert(self, scene: Scene, period_s: float) -> "LiftExpert":
        """Grasp from above and rise."""
        return LiftExpert(self.robot, period_s)

    def _height(self, scene: Scene) -> float:
        return float(scene.position("cube")[2] - CUBE_HALF_M)

    def _reach(self, scene: Scene) -> float:
        return dist(scene.tool_position(), scene.position("cube"))


class LiftExpert(GraspExpert):
    """Grasps, then rises to well above the height that counts."""

    phases = ("approach", "grasp", "lift")

    def target(self, observation: Observation, tool: np.ndarray, yaw: float) -> ToolTarget:
        """The next tool pose."""
        if self.holding(observation, tool):
            return ToolTarget(np.array([*tool[:2], CUBE_HALF_M + LIFTED_M + MARGIN_M]), yaw, CLOSED_M, 0.25, "lift")
        return self.grasp(observation, tool, yaw)
