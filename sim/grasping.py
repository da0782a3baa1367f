"""GraspExpert: grasping a cube from above, the part that every pick of a cube shares."""

from math import dist

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
    ALIGNED_M = 0.012
    """Sideways error at which the fingers may close [m]."""
    TURN_M_RAD = 0.03
    """Sideways error that a turn of the fingers counts as [m/rad]."""

    def cube_pose(self, observation: Observation) -> np.ndarray:
        """(x, y, z, qw, qx, qy, qz) of the cube."""
        return observation.features["observation.cube_pose"].astype(np.float64)

    def gripper(self, observation: Observation) -> float:
        """Measured gripper joint [m]."""
        return float(observation.features["observation.state"][self.robot.index(self.robot.gripper or "")])

    def at_cube(self, cube: np.ndarray, tool: np.ndarray) -> bool:
        """The cube is between the fingers."""
        return dist(tool, cube) <= 0.014

    def holding(self, observation: Observation, tool: np.ndarray) -> bool:
        """The cube is between the fingers and they are on it."""
        return (
            self.at_cube(self.cube_pose(observation)[:3], tool)
            and self.gripper(observation) <= self.CUBE_HALF_M + 0.0015
        )

    def grasp(self, observation: Observation, tool: np.ndarray, yaw: float) -> ToolTarget:
        """The next tool pose on the way to holding the cube: down a funnel above it ("approach"), then close ("grasp")."""
        pose = self.cube_pose(observation)
        cube, grasp_yaw = pose[:3], square_grasp_yaw(pose)
        aside = dist(tool[:2], cube[:2]) + self.TURN_M_RAD * abs(yaw - grasp_yaw)
        if aside <= self.ALIGNED_M and tool[2] <= cube[2] + 0.008:
            return ToolTarget(cube, grasp_yaw, CLOSED_M, speed=0.1, phase="grasp")
        above = funnel(aside - self.ALIGNED_M / 2, self.HOVER_M)
        return ToolTarget(cube + [0, 0, above], grasp_yaw, OPEN_M, speed=0.45, phase="approach")


def funnel(aside: float, rim: float, slope: float = 3.0) -> float:
    """Height to keep while ``aside`` from the axis [m], up to ``rim``.

    A continuous path down: demonstrations that switch between heights at a threshold are harder to imitate.
    """
    return min(max(slope * aside, 0.0), rim)
