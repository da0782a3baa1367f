"""Messages to arrays and back: pure functions, joints by name, SI units, quaternions (w, x, y, z) on our side.

ROS writes quaternions (x, y, z, w); the order changes here and nowhere else. A message that cannot be used raises
``MessageError`` with the cause under which it is counted; nothing is ever filled in.
"""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

import praxon.ros_nodes.needs_ros  # noqa: F401  (one sentence where ROS 2 is missing)

# isort: split
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from praxon.errors import PraxonError
from praxon.ros_nodes.trajectory import Trajectory

SECOND_NS = 1_000_000_000


class MessageError(PraxonError):
    """A message that cannot be used.

    Args:
        cause: short name under which it is counted: 'missing_joint', 'nonfinite', 'frame' or 'malformed'.
        sentence: for the log.
    """

    def __init__(self, cause: str, sentence: str) -> None:
        super().__init__(sentence)
        self.cause = cause


# -- time -----------------------------------------------------------------------------------------


def stamp_to_message(stamp_ns: int) -> Time:
    """Nanoseconds to ``builtin_interfaces/Time``."""
    return Time(sec=stamp_ns // SECOND_NS, nanosec=stamp_ns % SECOND_NS)


def stamp_from_message(stamp: Any) -> int:
    """``builtin_interfaces/Time`` or ``Duration`` to nanoseconds."""
    return int(stamp.sec) * SECOND_NS + int(stamp.nanosec)


# -- joints ---------------------------------------------------------------------------------------


def joints_to_message(
    names: Sequence[str], positions: np.ndarray, stamp_ns: int, velocities: np.ndarray | None = None
) -> JointState:
    """Joint positions (num_joints,) [rad or m] and velocities [rad/s or m/s] to a JointState."""
    message = JointState(name=list(names), position=array("d", np.asarray(positions, dtype=np.float64).tobytes()))
    if velocities is not None:
        message.velocity = array("d", np.asarray(velocities, dtype=np.float64).tobytes())
    message.header.stamp = stamp_to_message(stamp_ns)
    return message


def joints_from_message(message: Any, names: Sequence[str]) -> np.ndarray:
    """Positions (len(names),) float32 of the named joints [rad or m]; other joints in the message are ignored."""
    if len(message.position) != len(message.name):
        raise MessageError(
            "malformed", f"A JointState has {len(message.name)} names and {len(message.position)} positions."
        )
    positions = dict(zip(message.name, message.position, strict=True))
    missing = [name for name in names if name not in positions]
    if missing:
        raise MessageError(
            "missing_joint",
            f"A JointState lacks {', '.join(missing)}; it has {', '.join(message.name) or 'no joints'}.",
        )
    return _finite32([positions[name] for name in names], "A JointState")


# -- poses ----------------------------------------------------------------------------------------


def pose_to_message(pose: np.ndarray, frame: str, stamp_ns: int) -> PoseStamped:
    """(x, y, z, qw, qx, qy, qz) in ``frame`` [m] to a PoseStamped."""
    message = PoseStamped()
    message.header.frame_id = frame
    message.header.stamp = stamp_to_message(stamp_ns)
    position, orientation = message.pose.position, message.pose.orientation
    position.x, position.y, position.z, orientation.w, orientation.x, orientation.y, orientation.z = map(float, pose)
    return message


def pose_from_message(message: Any, frame: str) -> np.ndarray:
    """PoseStamped to (x, y, z, qw, qx, qy, qz) float32 with qw >= 0; the message must be in ``frame``."""
    if message.header.frame_id != frame:
        raise MessageError("frame", f"A pose is in frame '{message.header.frame_id}'; '{frame}' is expected.")
    position, orientation = message.pose.position, message.pose.orientation
    values = (position.x, position.y, position.z, orientation.w, orientation.x, orientation.y, orientation.z)
    pose = _finite32(values, "A pose")
    if abs(np.linalg.norm(pose[3:]) - 1) > 1e-3:
        raise MessageError("malformed", f"The quaternion of a pose has norm {np.linalg.norm(pose[3:]):.4f}, not 1.")
    if pose[3] < 0:
        pose[3:] = -pose[3:]
    return pose


# -- images ---------------------------------------------------------------------------------------

_CHANNEL_ORDER = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0)}


def image_to_message(image: np.ndarray, frame: str, stamp_ns: int, encoding: str = "rgb8") -> Image:
    """RGB picture (height, width, 3) uint8 to an Image of an encoding, 'rgb8' or 'bgr8'."""
    height, width, _ = image.shape
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=0, step=3 * width)
    message.header.frame_id = frame
    message.header.stamp = stamp_to_message(stamp_ns)
    message.data = array("B", np.ascontiguousarray(image[..., _CHANNEL_ORDER[encoding]]).tobytes())
    return message


def image_from_message(message: Any, shape: Sequence[int]) -> np.ndarray:
    """Image to an RGB picture of ``shape`` (height, width, 3) uint8; another size or encoding is refused."""
    if message.encoding not in _CHANNEL_ORDER:
        known = ", ".join(_CHANNEL_ORDER)
        raise MessageError("malformed", f"A picture is encoded as '{message.encoding}'; understood are {known}.")
    height, width = message.height, message.width
    if (height, width, 3) != tuple(shape):
        raise MessageError("malformed", f"A picture is {height} x {width}; {shape[0]} x {shape[1]} is expected.")
    if message.step < 3 * width or len(message.data) != height * message.step:
        raise MessageError(
            "malformed", f"A picture of {height} x {width} with step {message.step} has {len(message.data)} bytes."
        )
    rows = np.frombuffer(message.data, dtype=np.uint8).reshape(height, message.step)
    # Rows may be padded at their end.
    picture = rows[:, : 3 * width].reshape(height, width, 3)
    return np.ascontiguousarray(picture[..., _CHANNEL_ORDER[message.encoding]])


# -- trajectories ---------------------------------------------------------------------------------


def trajectory_to_message(trajectory: Trajectory) -> JointTrajectory:
    """A trajectory to a JointTrajectory with positions and velocities."""
    message = JointTrajectory(joint_names=list(trajectory.names))
    message.header.stamp = stamp_to_message(trajectory.stamp_ns)
    for time_ns, positions, velocities in zip(
        trajectory.times_ns.tolist(), trajectory.positions, trajectory.velocities, strict=True
    ):
        point = JointTrajectoryPoint(positions=positions.tolist(), velocities=velocities.tolist())
        after_ns = time_ns - trajectory.stamp_ns
        point.time_from_start = Duration(sec=after_ns // SECOND_NS, nanosec=after_ns % SECOND_NS)
        message.points.append(point)
    return message


def trajectory_from_message(message: Any, received_ns: int) -> Trajectory:
    """JointTrajectory to a trajectory with columns in the message's order; a stamp of zero means ``received_ns``."""
    names, points = tuple(message.joint_names), message.points
    if not points or len(set(names)) != len(names):
        raise MessageError("malformed", f"A trajectory has {len(points)} points for the joints {', '.join(names)}.")
    if any(len(point.positions) != len(names) or len(point.velocities) != len(names) for point in points):
        raise MessageError(
            "malformed", f"A point of a trajectory does not give position and velocity of all {len(names)} joints."
        )
    stamp_ns = stamp_from_message(message.header.stamp) or received_ns
    after_ns = np.array([stamp_from_message(point.time_from_start) for point in points], dtype=np.int64)
    positions = np.array([point.positions for point in points], dtype=np.float64)
    velocities = np.array([point.velocities for point in points], dtype=np.float64)
    _finite(positions, "A trajectory")
    _finite(velocities, "A trajectory")
    return Trajectory(names, stamp_ns, stamp_ns + after_ns, positions, velocities)


def _finite32(values: Sequence[float], what: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # too large for float32 is not finite either
        return _finite(np.array(values, dtype=np.float64).astype(np.float32), what)


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise MessageError("nonfinite", f"{what} holds a value that is not finite.")
    return values
