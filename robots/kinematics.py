"""ToolKinematics: where the tool is at joint positions, and which joint positions bring it to a pose."""

import mink
import numpy as np

from praxon.errors import RobotError
from praxon.robots.spec import RobotSpec


class ToolKinematics:
    """Forward and differential inverse kinematics of the tool site in the robot's base frame.

    Each inverse step is one quadratic programme (mink) that trades the tool's error against the distance of the joints
    from a resting posture, inside the joints' position limits.

    Args:
        robot: whose tool.
        posture_cost: weight of the resting posture [1/rad] beside 1/m on the tool's position; what the tool leaves free,
            such as where the elbow is, follows it alone.
        damping: of the joints' motion, which keeps steps finite where the arm is stretched.
    """

    ORIENTATION_COST = 0.3
    """Weight of the tool's orientation [1/rad] beside 1/m on its position."""

    def __init__(self, robot: RobotSpec, posture_cost: float = 1e-2, damping: float = 1e-6) -> None:
        self.robot = robot
        self._damping = damping
        model = robot.build("own").compile()
        self._configuration = mink.Configuration(model)
        self._arm = np.array([model.joint(joint.name).qposadr[0] for joint in robot.joints])
        self._tool = mink.FrameTask(
            robot.tool_site, "site", position_cost=1.0, orientation_cost=self.ORIENTATION_COST, lm_damping=1e-4
        )
        self._posture = mink.PostureTask(model, cost=posture_cost)
        self._limits = [mink.ConfigurationLimit(model)]
        self.rest_at(np.array(robot.home))

    def rest_at(self, positions: np.ndarray) -> None:
        """Take joint positions (num_joints,) for the resting posture; home at first."""
        self._posture.set_target(self._full(positions))

    def tool(self, positions: np.ndarray) -> mink.SE3:
        """The tool's pose at joint positions (num_joints,), where the next ``step`` starts."""
        self._configuration.update(self._full(positions))
        return self._configuration.get_transform_frame_to_world(self.robot.tool_site, "site")

    def step(self, target: mink.SE3) -> np.ndarray:
        """Joint positions (num_joints,) one inverse step from those of the last ``tool`` toward a pose of the tool.

        Raises:
            RobotError: the quadratic programme has no solution.
        """
        self._tool.set_target(target)
        try:
            velocity = mink.solve_ik(
                self._configuration, [self._tool, self._posture], 1.0, "daqp", self._damping, limits=self._limits
            )
        except mink.NoSolutionFound as error:
            raise RobotError(f"No joint motion brings the tool toward {target.translation()}: {error}.") from error
        return self._configuration.integrate(velocity, 1.0)[self._arm]

    def _full(self, positions: np.ndarray) -> np.ndarray:
        """The model's qpos with mimicking joints beside the ones they follow."""
        full = np.zeros(self._configuration.model.nq)
        full[self._arm] = positions
        for joint, position in zip(self.robot.joints, positions, strict=True):
            for name in joint.mimics:
                full[self._configuration.model.joint(name).qposadr[0]] = position
        return full
