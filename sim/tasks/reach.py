"""reach: bring the tool to a point in space and stay there."""

from math import dist
from pathlib import Path

import numpy as np

from praxon.contract import Observation
from praxon.sim.expert import ScriptedExpert, ToolTarget
from praxon.sim.scene import Scene
from praxon.sim.symmetry import Anchor, Symmetry
from praxon.sim.task import TOOL, Task, tolerance

REGION = ((0.35, -0.30, 0.10), (0.65, 0.30, 0.50))
"""Corners of the box in which the point lies [m]."""
MIN_DISTANCE_M = 0.10
AT_POINT_M = 0.02
AT_REST_RAD_S = 0.10
OPEN_M = 0.04
DOWN = (0.0, 1.0, 0.0, 0.0)
"""Orientation of a tool that points straight down, quaternion (w, x, y, z)."""


class Reach(Task):
    """A point anywhere in ``REGION``, at least ``MIN_DISTANCE_M`` from the tool."""

    name = "reach"
    instruction = "Bring the tool to the green ball."
    world = Path(__file__).with_suffix(".xml")
    objects = ("goal",)
    goals = (TOOL,)
    time_limit_s = 6.0
    start_noise_rad = 0.1
    symmetry = Symmetry((Anchor("goal", round=True),), mirror=True)

    def place(self, scene: Scene, rng: np.random.Generator) -> None:
        """The point, drawn until it is far enough from the tool."""
        tool = scene.tool_position()
        while True:
            goal = rng.uniform(*REGION)
            if np.linalg.norm(goal - tool) >= MIN_DISTANCE_M:
                break
        scene.place("goal", goal, np.array([1.0, 0, 0, 0]))

    def goal(self, scene: Scene) -> dict[str, np.ndarray]:
        """The tool at the point, pointing straight down."""
        return {TOOL: np.array([*scene.position("goal"), *DOWN])}

    def success(self, scene: Scene) -> bool:
        """The tool is at the point and the joints are at rest."""
        return self._distance(scene) <= AT_POINT_M and bool(np.abs(scene.velocities()).max() <= AT_REST_RAD_S)

    def reward(self, scene: Scene) -> float:
        """How near the tool is to the point."""
        return tolerance(self._distance(scene), AT_POINT_M, 0.3)

    def metrics(self, scene: Scene) -> dict[str, float]:
        """Distance of the tool from the point [m]."""
        return {"distance_m": self._distance(scene)}

    def expert(self, scene: Scene, period_s: float) -> "ReachExpert":
        """Straight to the point."""
        return ReachExpert(self.robot, period_s)

    def _distance(self, scene: Scene) -> float:
        return dist(scene.tool_position(), scene.position("goal"))


class ReachExpert(ScriptedExpert):
    """Moves straight to the point."""

    def target(self, observation: Observation, tool: np.ndarray, yaw: float) -> ToolTarget:
        """The point itself."""
        goal = observation.features["observation.goal_pose"][:3].astype(np.float64)
        return ToolTarget(goal, 0.0, OPEN_M, speed=0.4)
