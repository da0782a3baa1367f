"""Which message, on which topic, carries a feature of a contract: declared once, for publishing and for reading.

A simulated robot publishes through ``to_message`` what a policy reads through ``from_message``. Because both are here,
a policy sees over ROS, to the bit, the arrays it was trained on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import praxon.ros_nodes.needs_ros  # noqa: F401  (one sentence where ROS 2 is missing)

# isort: split
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image, JointState

from praxon.contract import Feature
from praxon.datasets.messages import observation_topic
from praxon.errors import ContractError, RobotError
from praxon.robots.cartesian import ToolPoses
from praxon.robots.spec import RobotSpec
from praxon.ros_nodes import convert


@dataclass(frozen=True)
class Stream:
    """One feature on the wire.

    Args:
        feature: of the contract.
        topic: its name.
        message_type: class of its messages.
        to_message: (array, stamp [ns]) -> message; raises ``RobotError`` for what is computed from other messages.
        from_message: message -> array in the contract's shape and type; raises ``MessageError``.
    """

    feature: Feature
    topic: str
    message_type: type
    to_message: Callable[[np.ndarray, int], Any]
    from_message: Callable[[Any], np.ndarray]


def stream(feature: Feature, robot: RobotSpec) -> Stream:
    """How a feature of this robot travels; ``ContractError`` for a kind that no message carries."""
    if feature.kind not in _KINDS:
        raise ContractError(
            f"Feature '{feature.name}' of kind '{feature.kind}' has no ROS message. Kinds: {', '.join(_KINDS)}."
        )
    return _KINDS[feature.kind](feature, robot)


def _joint_position(feature: Feature, robot: RobotSpec) -> Stream:
    return Stream(
        feature,
        observation_topic(feature, robot.ros.joint_states_topic),
        JointState,
        lambda value, stamp_ns: convert.joints_to_message(feature.names, value, stamp_ns),
        lambda message: convert.joints_from_message(message, feature.names),
    )


def _pose(feature: Feature, robot: RobotSpec) -> Stream:
    if feature.source == robot.tool_site and not feature.is_goal:
        return _tool_pose(feature, robot)
    return Stream(
        feature,
        observation_topic(feature),
        PoseStamped,
        lambda value, stamp_ns: convert.pose_to_message(value, feature.frame, stamp_ns),
        lambda message: convert.pose_from_message(message, feature.frame),
    )


def _tool_pose(feature: Feature, robot: RobotSpec) -> Stream:
    """The measured pose of the tool: nobody sends it, it follows from the joints that were measured."""
    tool = ToolPoses(robot)

    def refuse(value: np.ndarray, stamp_ns: int) -> Any:
        raise RobotError(f"'{feature.name}' is computed from {robot.ros.joint_states_topic}; no message carries it.")

    return Stream(
        feature,
        robot.ros.joint_states_topic,
        JointState,
        refuse,
        lambda message: tool.pose(convert.joints_from_message(message, robot.joint_names, np.float64)).astype(
            np.float32
        ),
    )


def _image(feature: Feature, robot: RobotSpec) -> Stream:
    return Stream(
        feature,
        observation_topic(feature),
        Image,
        lambda value, stamp_ns: convert.image_to_message(value, feature.source, stamp_ns),
        lambda message: convert.image_from_message(message, feature.shape),
    )


_KINDS: dict[str, Callable[[Feature, RobotSpec], Stream]] = {
    "joint_position": _joint_position,
    "pose": _pose,
    "image": _image,
}
