"""Messages to arrays and back: pure functions, joints by name, SI units, quaternions (w, x, y, z) on our side.

What needs only plain fields of a message is in datasets/messages.py, shared with the reader of recordings. ROS writes
quaternions (x, y, z, w); the order changes here and there, and nowhere else. A message that cannot be used raises
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

from praxon.datasets.messages import CHANNEL_ORDER, SECOND_NS, require_finite
from praxon.datasets.messages import MessageError as MessageError
from praxon.datasets.messages import image_from_message as image_from_message
from praxon.datasets.messages import joints_from_message as joints_from_message
from praxon.datasets.messages import pose_from_message as pose_from_message
from praxon.datasets.messages import stamp_from_message as stamp_from_message
from praxon.ros_nodes.trajectory import Trajectory

# -- time -----------------------------------------------------------------------------------------


def stamp_to_message(stamp_ns: int) -> Time:
    """Nanoseconds to ``builtin_interfaces/Time``."""
    return Time(sec=stamp_ns // SECOND_NS, nanosec=stamp_ns % SECOND_NS)


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


# -- poses ----------------------------------------------------------------------------------------


def pose_to_message(pose: np.ndarray, frame: str, stamp_ns: int) -> PoseStamped:
    """(x, y, z, qw, qx, qy, qz) in ``frame`` [m] to a PoseStamped."""
    message = PoseStamped()
    message.header.frame_id = frame
    message.header.stamp = stamp_to_message(stamp_ns)
    position, orientation = message.pose.position, message.pose.orientation
    position.x, position.y, position.z, orientation.w, orientation.x, orientation.y, orientation.z = map(float, pose)
    return message


# -- images ---------------------------------------------------------------------------------------


def image_to_message(image: np.ndarray, frame: str, stamp_ns: int, encoding: str = "rgb8") -> Image:
    """RGB picture (height, width, 3) uint8 to an Image of an encoding, 'rgb8' or 'bgr8'."""
    height, width, _ = image.shape
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=0, step=3 * width)
    message.header.frame_id = frame
    message.header.stamp = stamp_to_message(stamp_ns)
    message.data = array("B", np.ascontiguousarray(image[..., CHANNEL_ORDER[encoding]]).tobytes())
    return message


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
    require_finite(positions, "A trajectory")
    require_finite(velocities, "A trajectory")
    return Trajectory(names, stamp_ns, stamp_ns + after_ns, positions, velocities)
