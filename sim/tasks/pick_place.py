"""pick_place: put a cube onto a marker, let go of it."""

from pathlib import Path

import numpy as np

from praxon.contract import Observation
from praxon.sim.expert import ScriptedExpert, ToolTarget, square_grasp_yaw
from praxon.sim.scene import Scene
from praxon.sim.task import Task, tolerance

CUBE_HALF_M = 0.02
AREA = ((0.40, -0.20), (0.60, 0.20))
"""Corners of the rectangle in which cube and marker lie [m]."""
MIN_DISTANCE_M = 0.12
ON_MARKER_M = 0.025
OPEN_M = 0.03
AT_REST_M_S = 0.05


class PickPlace(Task):
    """Cube and marker anywhere in ``AREA``, at least ``MIN_DISTANCE_M`` apart; the cube turned by up to 45 degrees."""

    name = "pick_place"
    instruction = "Put the cube onto the green marker."
    world = Path(__file__).with_suffix(".xml")
    objects = ("cube", "goal")
    time_limit_s = 12.0

    def place(self, scene: Scene, rng: np.random.Generator) -> None:
        """Cube and marker, drawn until they are far enough apart."""
        while True:
            cube, goal = rng.uniform(*AREA, size=(2, 2))
            if np.linalg.norm(cube - goal) >= MIN_DISTANCE_M:
                break
        yaw = rng.uniform(-np.pi / 4, np.pi / 4)
        scene.place("cube", np.array([*cube, CUBE_HALF_M]), np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]))
        scene.place("goal", np.array([*goal, 0.0]), np.array([1.0, 0, 0, 0]))

    def success(self, scene: Scene) -> bool:
        """The cube lies still on the marker and the fingers are open."""
        cube, goal = scene.data.body("cube"), scene.data.body("goal")
        gripper = scene.data.joint(self.robot.gripper).qpos[0]
        return bool(
            np.linalg.norm(cube.xpos[:2] - goal.xpos[:2]) <= ON_MARKER_M
            and abs(cube.xpos[2] - CUBE_HALF_M) <= 0.005
            and np.linalg.norm(cube.cvel) <= AT_REST_M_S
            and gripper >= OPEN_M
        )

    def reward(self, scene: Scene) -> float:
        """A third each for the tool at the cube, the cube off the table or at the marker, the cube on the marker."""
        cube, goal = scene.data.body("cube").xpos, scene.data.body("goal").xpos
        tool = scene.data.site_xpos[scene.tool_site]
        away = float(np.linalg.norm(cube[:2] - goal[:2]))
        reach = tolerance(float(np.linalg.norm(tool - cube)), 0.01, 0.2)
        placed = tolerance(away, ON_MARKER_M, 0.2)
        lifted = max(float(np.clip((cube[2] - CUBE_HALF_M) / 0.05, 0, 1)), float(away <= ON_MARKER_M))
        return (reach + lifted + placed) / 3

    def metrics(self, scene: Scene) -> dict[str, float]:
        """Distance of the cube from the marker [m]."""
        away = scene.data.body("cube").xpos[:2] - scene.data.body("goal").xpos[:2]
        return {"distance_m": float(np.linalg.norm(away))}

    def expert(self, scene: Scene, period_s: float) -> "PickPlaceExpert":
        """Grasp from above, carry, set down, let go."""
        return PickPlaceExpert(self.robot, period_s)


class PickPlaceExpert(ScriptedExpert):
    """Decides by where cube, marker, tool and fingers are; it has no memory."""

    HOVER_M = 0.08
    CARRY_M = 0.12

    def target(self, observation: Observation, tool: np.ndarray, yaw: float) -> ToolTarget:
        """The next tool pose by the first case that applies."""
        cube_pose = observation.features["observation.cube_pose"].astype(np.float64)
        cube, goal = cube_pose[:3], observation.features["observation.goal_pose"][:3].astype(np.float64)
        gripper = float(observation.features["observation.state"][self.robot.index(self.robot.gripper or "")])
        grasp_yaw = square_grasp_yaw(cube_pose)
        on_marker = np.linalg.norm(cube[:2] - goal[:2]) <= 0.012 and cube[2] <= CUBE_HALF_M + 0.003
        at_cube = np.linalg.norm(tool - cube) <= 0.014
        if on_marker:
            if at_cube and gripper < 0.034:
                return ToolTarget(tool, yaw, 0.04)
            return ToolTarget(np.array([*tool[:2], 0.16]), 0.0, 0.04, speed=0.25)
        if at_cube and gripper <= CUBE_HALF_M + 0.0015:
            return self._carry(tool, yaw, goal)
        return self._grasp(tool, yaw, cube, grasp_yaw)

    def _carry(self, tool: np.ndarray, yaw: float, goal: np.ndarray) -> ToolTarget:
        away = float(np.linalg.norm(tool[:2] - goal[:2]))
        if away > 0.008:
            # Rise first, then across on a slope: low only where the cube may touch the table.
            height = self.CARRY_M if away > 0.05 else CUBE_HALF_M + 0.03
            across = goal[:2] if tool[2] > CUBE_HALF_M + 0.02 else tool[:2]
            return ToolTarget(np.array([*across, height]), yaw, 0.0)
        return ToolTarget(np.array([*goal[:2], CUBE_HALF_M - 0.004]), yaw, 0.0, speed=0.15)

    def _grasp(self, tool: np.ndarray, yaw: float, cube: np.ndarray, grasp_yaw: float) -> ToolTarget:
        aside = float(np.linalg.norm(tool[:2] - cube[:2]))
        turned = abs(yaw - grasp_yaw)
        low = tool[2] <= cube[2] + 0.008
        if aside <= 0.01 and low:
            return ToolTarget(np.array([*cube[:2], cube[2]]), grasp_yaw, 0.0, speed=0.1)
        if aside <= 0.012 and turned <= 0.15:
            return ToolTarget(np.array([*cube[:2], cube[2]]), grasp_yaw, 0.04, speed=0.25)
        return ToolTarget(np.array([*cube[:2], cube[2] + self.HOVER_M]), grasp_yaw, 0.04, speed=0.5)
