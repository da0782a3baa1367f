"""Joint trajectories without ROS: what one is, how a safe command becomes one, and a follower that tracks them.

The follower does what ros2_control's joint_trajectory_controller does with points that carry velocities: cubic Hermite
segments through positions and velocities, a new trajectory replacing the old one from its stamp on, beginning at the
reference that is being followed at that moment, the last point held.
"""

from dataclasses import dataclass

import numpy as np

from praxon.errors import RobotError
from praxon.robots.base import SafeCommand
from praxon.robots.spec import RobotSpec


@dataclass(frozen=True)
class Trajectory:
    """Points to pass, in time.

    Args:
        names: of the joints, one per column.
        stamp_ns: from when on it holds [ns].
        times_ns: (K,) of the points on the same clock as the stamp, increasing [ns].
        positions: (K, num_joints) [rad or m].
        velocities: (K, num_joints) [rad/s or m/s].
    """

    names: tuple[str, ...]
    stamp_ns: int
    times_ns: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray


def command_trajectory(command: SafeCommand, names: tuple[str, ...]) -> Trajectory:
    """The trajectory of a filtered command: row i is passed at ``stamp_ns + (i + 1) * period_s``."""
    period_ns = round(command.period_s * 1e9)
    times_ns = command.stamp_ns + period_ns * np.arange(1, len(command.positions) + 1, dtype=np.int64)
    return Trajectory(names, command.stamp_ns, times_ns, command.positions, command.velocities)


def ordered(trajectory: Trajectory, robot: RobotSpec) -> Trajectory:
    """The trajectory with its columns in the robot's order.

    Raises:
        RobotError: a joint is missing or unknown.
    """
    columns = {name: i for i, name in enumerate(trajectory.names)}
    if columns.keys() != set(robot.joint_names):
        raise RobotError(
            f"A trajectory for '{robot.name}' names the joints {', '.join(trajectory.names) or 'none'}; "
            f"it must name {', '.join(robot.joint_names)}."
        )
    order = [columns[name] for name in robot.joint_names]
    return Trajectory(
        robot.joint_names,
        trajectory.stamp_ns,
        trajectory.times_ns,
        trajectory.positions[:, order],
        trajectory.velocities[:, order],
    )


class TrajectoryFollower:
    """The reference at any time, given the trajectories received so far.

    Args:
        positions: (num_joints,) where it stands until the first trajectory [rad or m].
    """

    def __init__(self, positions: np.ndarray) -> None:
        self.reset(positions)

    def reset(self, positions: np.ndarray) -> None:
        """Forget every trajectory and stand at ``positions``."""
        self._times_ns = np.zeros(1, dtype=np.int64)
        self._positions = np.array(positions, dtype=np.float64)[None]
        self._velocities = np.zeros_like(self._positions)

    def replace(self, trajectory: Trajectory, now_ns: int) -> None:
        """Follow ``trajectory`` from its stamp on, or from now where the stamp has passed; until then the present one.

        Points that have passed are dropped.

        Raises:
            RobotError: the last point is not at rest, times do not increase, or every point has passed.
        """
        if np.any(np.diff(trajectory.times_ns) <= 0) or trajectory.times_ns[0] < trajectory.stamp_ns:
            raise RobotError("The times of a trajectory do not increase from its stamp on.")
        if np.any(trajectory.velocities[-1] != 0):
            raise RobotError("A trajectory ends in motion; the velocities of its last point must be zero.")
        start_ns = max(trajectory.stamp_ns, now_ns)
        ahead = trajectory.times_ns > start_ns
        if not ahead.any():
            late_s = (start_ns - trajectory.times_ns[-1]) / 1e9
            raise RobotError(f"A trajectory was over {late_s:.3f} s before it could begin.")
        position, velocity = self.state(start_ns)
        # The segment that is being followed now is kept until the new one begins; older ones are forgotten.
        first = max(int(np.searchsorted(self._times_ns, now_ns, side="right")) - 1, 0)
        kept = slice(first, int(np.searchsorted(self._times_ns, start_ns, side="left")))
        self._times_ns = np.concatenate([self._times_ns[kept], [start_ns], trajectory.times_ns[ahead]])
        self._positions = np.vstack([self._positions[kept], position, trajectory.positions[ahead]])
        self._velocities = np.vstack([self._velocities[kept], velocity, trajectory.velocities[ahead]])

    def sample(self, now_ns: int) -> np.ndarray:
        """Reference positions (num_joints,) at a time [ns]."""
        return self.state(now_ns)[0]

    def state(self, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Reference positions and velocities, each (num_joints,), at a time [ns]."""
        i = int(np.searchsorted(self._times_ns, now_ns, side="right"))
        if i == 0 or i == len(self._times_ns):
            return self._positions[max(i - 1, 0)].copy(), np.zeros(self._positions.shape[1])
        h = (self._times_ns[i] - self._times_ns[i - 1]) / 1e9
        u = (now_ns - self._times_ns[i - 1]) / 1e9 / h
        p0, p1 = self._positions[i - 1], self._positions[i]
        m0, m1 = self._velocities[i - 1] * h, self._velocities[i] * h
        # Hermite basis in the form p0 + u (m0 + u (...)), exact at both ends.
        d = p1 - p0
        a, b = 3 * d - 2 * m0 - m1, m0 + m1 - 2 * d
        return p0 + u * (m0 + u * (a + u * b)), (m0 + u * (2 * a + 3 * u * b)) / h

    def moving(self, now_ns: int) -> bool:
        """Whether the last point is still ahead."""
        return bool(now_ns < self._times_ns[-1])


def clamped(trajectory: Trajectory, robot: RobotSpec) -> tuple[Trajectory, bool]:
    """The trajectory with its positions inside the robot's limits, and whether that changed it."""
    positions = np.clip(trajectory.positions, robot.limit("lower"), robot.limit("upper"))
    changed = bool(np.any(positions != trajectory.positions))
    if not changed:
        return trajectory, False
    return (
        Trajectory(trajectory.names, trajectory.stamp_ns, trajectory.times_ns, positions, trajectory.velocities),
        True,
    )
