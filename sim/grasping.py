"""GraspExpert: grasping a cube from above, the part that every pick of a cube shares."""

import numpy as np

from praxon.contract import Observation
from praxon.sim.expert import ScriptedExpert, ToolTarget, square_grasp_yaw

OPEN_M = 0.04
"""Gripper joint when open [m]."""
CLOSED_M = 0.0
"""Gripper command that squeezes whatever is between the fingers [m]."""


class GraspExpert(ScriptedExpert):
    """Decides by where cube, tool and fingers are; it has no memory."""

    CUBE_HALF_M = 0.02
    HOVER_M = 0.08

    def cube_pose(self, observation: Observation) -> np.ndarray:
        """(x, y, z, qw, qx, qy, qz) of the cube."""
        return observation.features["observation.cube_pose"].astype(np.float64)

    def gripper(self, observation: Observation) -> float:
        """Measured gripper joint [m]."""
        return float(observation.features["observation.state"][self.robot.index(self.robot.gripper or "")])

    def at_cube(self, cube: np.ndarray, tool: np.ndarray) -> bool:
        """The cube is between the fingers."""
        return bool(np.linalg.norm(tool - cube) <= 0.014)

    def holding(self, observation: Observation, tool: np.ndarray) -> bool:
        """The cube is between the fingers and they are on it."""
        return (
            self.at_cube(self.cube_pose(observation)[:3], tool)
            and self.gripper(observation) <= self.CUBE_HALF_M + 0.0015
        )

    def grasp(self, observation: Observation, tool: np.ndarray, yaw: float) -> ToolTarget:
        """The next tool pose on the way to holding the cube: above it, down along it, close."""
        pose = self.cube_pose(observation)
        cube, grasp_yaw = pose[:3], square_grasp_yaw(pose)
        aside = float(np.linalg.norm(tool[:2] - cube[:2]))
        if aside <= 0.01 and tool[2] <= cube[2] + 0.008:
            return ToolTarget(cube, grasp_yaw, CLOSED_M, speed=0.1)
        if aside <= 0.012 and abs(yaw - grasp_yaw) <= 0.15:
            return ToolTarget(cube, grasp_yaw, OPEN_M, speed=0.25)
        return ToolTarget(cube + [0, 0, self.HOVER_M], grasp_yaw, OPEN_M, speed=0.5)
