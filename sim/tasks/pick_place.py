"""pick_place: put a cube onto a marker, let go of it."""

from math import dist
from pathlib import Path

import numpy as np

from praxon.contract import Observation
from praxon.sim.expert import ToolTarget
from praxon.sim.grasping import CLOSED_M, OPEN_M, GraspExpert, funnel
from praxon.sim.scene import Scene
from praxon.sim.symmetry import Anchor, Symmetry
from praxon.sim.task import Task, tolerance

CUBE_HALF_M = GraspExpert.CUBE_HALF_M
AREA = ((0.40, -0.20), (0.60, 0.20))
"""Corners of the rectangle in which cube and marker lie [m]."""
MIN_DISTANCE_M = 0.12
ON_MARKER_M = 0.025
RELEASED_M = 0.03
AT_REST_M_S = 0.05


class PickPlace(Task):
    """Cube and marker anywhere in ``AREA``, at least ``MIN_DISTANCE_M`` apart; the cube turned by up to 45 degrees."""

    name = "pick_place"
    instruction = "Put the cube onto the green marker."
    world = Path(__file__).with_suffix(".xml")
    objects = ("cube", "goal")
    goals = ("cube",)
    target = "goal"
    time_limit_s = 12.0
    symmetry = Symmetry((Anchor("cube"), Anchor("goal", round=True)), mirror=True)

    def place(self, scene: Scene, rng: np.random.Generator) -> None:
        """Cube and marker, drawn until they are far enough apart."""
        while True:
            cube, goal = rng.uniform(*AREA, size=(2, 2))
            if np.linalg.norm(cube - goal) >= MIN_DISTANCE_M:
                break
        yaw = rng.uniform(-np.pi / 4, np.pi / 4)
        scene.place("cube", np.array([*cube, CUBE_HALF_M]), np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]))
        scene.place("goal", np.array([*goal, 0.0]), np.array([1.0, 0, 0, 0]))

    def goal(self, scene: Scene) -> dict[str, np.ndarray]:
        """The cube on the marker, turned as it lies."""
        turned = scene.pose(scene.body("cube"))[3:]
        return {"cube": np.array([*scene.position("goal")[:2], CUBE_HALF_M, *turned])}

    def success(self, scene: Scene) -> bool:
        """The cube lies still on the marker and the fingers are open."""
        height = float(scene.position("cube")[2])
        return (
            self._away(scene) <= ON_MARKER_M
            and abs(height - CUBE_HALF_M) <= 0.005
            and scene.gripper() >= RELEASED_M
            and float(np.linalg.norm(scene.data.body("cube").cvel)) <= AT_REST_M_S
        )

    def reward(self, scene: Scene) -> float:
        """A third each for the tool at the cube, the cube off the table or at the marker, the cube on the marker."""
        away = self._away(scene)
        reach = tolerance(dist(scene.tool_position(), scene.position("cube")), 0.01, 0.2)
        placed = tolerance(away, ON_MARKER_M, 0.2)
        lifted = min(max((float(scene.position("cube")[2]) - CUBE_HALF_M) / 0.05, 0.0), 1.0)
        return (reach + max(lifted, float(away <= ON_MARKER_M)) + placed) / 3

    def metrics(self, scene: Scene) -> dict[str, float]:
        """Distance of the cube from the marker [m]."""
        return {"distance_m": self._away(scene)}

    def _away(self, scene: Scene) -> float:
        return dist(scene.position("cube")[:2], scene.position("goal")[:2])

    def expert(self, scene: Scene, period_s: float) -> "PickPlaceExpert":
        """Grasp from above, carry, set down, let go."""
        return PickPlaceExpert(self.robot, period_s)


class PickPlaceExpert(GraspExpert):
    """Grasps, carries, sets down, lets go; decided by where cube, marker, tool and fingers are."""

    phases = ("approach", "grasp", "carry", "release", "leave")

    CARRY_M = 0.12
    RELEASE_M = 0.018
    """Distance from the marker at which a cube on the table is let go [m]."""

    def target(self, observation: Observation, tool: np.ndarray, yaw: float) -> ToolTarget:
        """The next tool pose by the first case that applies."""
        cube = self.cube_pose(observation)[:3]
        goal = observation.features["observation.goal_pose"][:3].astype(np.float64)
        if dist(cube[:2], goal[:2]) <= self.RELEASE_M and cube[2] <= CUBE_HALF_M + 0.004:
            if self.at_cube(cube, tool) and self.gripper(observation) < 0.034:
                return ToolTarget(tool, yaw, OPEN_M, phase="release")
            return ToolTarget(np.array([*tool[:2], 0.16]), 0.0, OPEN_M, 0.25, "leave")
        if self.holding(observation, tool):
            return self._carry(tool, yaw, goal)
        return self.grasp(observation, tool, yaw)

    def _carry(self, tool: np.ndarray, yaw: float, goal: np.ndarray) -> ToolTarget:
        """Up, across, down a funnel above the marker; across only as far as the cube is off the table."""
        away = dist(tool[:2], goal[:2])
        height = CUBE_HALF_M - 0.004 + funnel(away - 0.006, self.CARRY_M)
        free = min(max((tool[2] - CUBE_HALF_M - 0.01) / 0.03, 0.0), 1.0) if away > self.RELEASE_M else 1.0
        across = tool[:2] + free * (goal[:2] - tool[:2])
        return ToolTarget(np.array([*across, height]), yaw, CLOSED_M, phase="carry")
