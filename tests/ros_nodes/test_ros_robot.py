"""RosRobot with a node that hands its callbacks over: alignment by stamp, what is dropped and counted, what is sent."""

import logging
import threading
from typing import Any

import numpy as np
import pytest

from praxon.robots.base import SafeCommand, SafetyReport
from praxon.robots.cartesian import ToolPoses
from praxon.robots.panda import PANDA
from praxon.ros_nodes.convert import joints_to_message, pose_to_message, stamp_from_message
from praxon.ros_nodes.ros_robot import RosRobot
from praxon.sim.contract import offered_contract
from praxon.sim.factory import make_task

MS = 1_000_000
HOME = np.array(PANDA.home)


class FakeClock:
    ros_time_is_active = False

    def __init__(self) -> None:
        self.nanoseconds = 0

    def now(self) -> "FakeClock":
        return self


class FakeLogger:
    def warning(self, sentence: str, throttle_duration_sec: float) -> None:
        logging.getLogger("node").warning(sentence)


class FakePublisher:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.publish = self.sent.append


class FakeSubscription:
    """A queue in the middleware."""

    def __init__(self, message_type: type) -> None:
        self.msg_type, self.handle, self.waiting = message_type, self, []

    def take_message(self, message_type: type, raw: bool) -> Any:
        return (self.waiting.pop(0), {}) if self.waiting else None


class FakeNode:
    """What RosRobot needs of a node."""

    def __init__(self) -> None:
        self.clock, self.topics, self.publisher = FakeClock(), {}, FakePublisher()

    def get_clock(self) -> FakeClock:
        return self.clock

    def get_logger(self) -> FakeLogger:
        return FakeLogger()

    def create_subscription(
        self, message_type: type, topic: str, callback: Any, qos: Any, callback_group: Any
    ) -> FakeSubscription:
        self.topics[topic] = FakeSubscription(message_type)
        return self.topics[topic]

    def create_lifecycle_publisher(self, message_type: type, topic: str, qos: Any) -> FakePublisher:
        self.topic = topic
        return self.publisher

    def destroy_subscription(self, subscription: FakeSubscription) -> None:
        self.topics = {topic: each for topic, each in self.topics.items() if each is not subscription}

    def destroy_lifecycle_publisher(self, publisher: FakePublisher) -> None:
        self.publisher = None


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def robot(node: FakeNode) -> RosRobot:
    contract = offered_contract(PANDA, make_task("lift", PANDA), 0.05)
    return RosRobot(node, PANDA, contract, lookahead=3)


def joints(node: FakeNode, stamp_ms: float, value: float = 0.0) -> None:
    node.topics["joint_states"].waiting.append(joints_to_message(PANDA.joint_names, HOME + value, round(stamp_ms * MS)))


def cube(node: FakeNode, stamp_ms: float, x: float = 0.5, frame: str = "panda_link0") -> None:
    pose = np.array([x, 0, 0, 1, 0, 0, 0])
    node.topics["objects/cube/pose"].waiting.append(pose_to_message(pose, frame, round(stamp_ms * MS)))


def test_there_is_no_observation_until_everything_was_received(robot: RosRobot, node: FakeNode) -> None:
    assert robot.observe() is None
    joints(node, 100)
    assert robot.observe() is None
    assert robot.missing() == ["observation.cube_pose (topic objects/cube/pose)"]
    cube(node, 100)
    observation = robot.observe()
    assert observation is not None
    assert observation.stamp_ns == 100 * MS
    assert observation.features["observation.state"].dtype == np.float32
    assert robot.missing() == []


def test_the_nearest_in_time_is_taken_not_the_latest(robot: RosRobot, node: FakeNode) -> None:
    for stamp_ms in (80, 90, 104, 120):
        cube(node, stamp_ms, x=stamp_ms / 1000)
    joints(node, 100)
    observation = robot.observe()
    assert observation is not None
    assert observation.features["observation.cube_pose"][0] == np.float32(0.104)


def test_a_stream_that_stops_or_freezes_ends_observations_at_the_maximum_age(robot: RosRobot, node: FakeNode) -> None:
    cube(node, 100)
    joints(node, 300)
    assert robot.observe() is not None
    joints(node, 301)
    assert robot.observe() is None
    cube(node, 100)  # frozen: the same stamp again
    assert robot.observe() is None
    assert robot.drops["out_of_order"] == 1
    cube(node, 301)
    assert robot.observe() is not None


def test_messages_that_cannot_be_used_are_dropped_by_cause(robot: RosRobot, node: FakeNode) -> None:
    joints(node, 100)
    cube(node, 100)
    joints(node, 110, value=np.nan)
    lacking = joints_to_message(PANDA.joint_names[:-1], HOME[:-1], 120 * MS)
    node.topics["joint_states"].waiting.append(lacking)
    cube(node, 130, frame="camera")
    joints(node, 90)
    observation = robot.observe()
    assert robot.drops == {"nonfinite": 1, "missing_joint": 1, "frame": 1, "out_of_order": 1}
    assert observation is not None
    assert observation.stamp_ns == 100 * MS


def test_a_message_without_a_stamp_has_the_time_of_its_receipt(robot: RosRobot, node: FakeNode) -> None:
    node.clock.nanoseconds = 77 * MS
    joints(node, 0)
    cube(node, 77)
    observation = robot.observe()
    assert observation is not None
    assert observation.stamp_ns == 77 * MS
    assert robot.drops == {"no_stamp": 1}


def test_the_tool_is_where_the_joints_say_and_waits_for_no_topic(node: FakeNode) -> None:
    contract = offered_contract(PANDA, make_task("lift", PANDA), 0.05, tool_pose=True)
    robot = RosRobot(node, PANDA, contract, lookahead=3)
    assert set(node.topics) == {"joint_states", "objects/cube/pose"}
    joints(node, 100)
    joints(node, 110, value=0.1)
    joints(node, 105)
    joints(node, 120, value=np.nan)
    cube(node, 110)
    observation = robot.observe()
    assert observation is not None
    expected = ToolPoses(PANDA).pose(HOME + 0.1).astype(np.float32)
    assert observation.features["observation.tool_pose"].tobytes() == expected.tobytes()
    assert robot.drops == {"out_of_order": 1, "nonfinite": 1}  # a message that two features are read from counts once
    assert set(robot.ages_s()) == {"observation.state", "observation.tool_pose", "observation.cube_pose"}


def test_a_goal_of_the_tool_is_a_topic(node: FakeNode) -> None:
    offered = offered_contract(PANDA, make_task("reach", PANDA), 0.05, tool_pose=True)
    RosRobot(node, PANDA, offered.with_goals(["observation.tool_pose"]), lookahead=3)
    assert f"goal/objects/{PANDA.tool_site}/pose" in node.topics


def test_after_forgetting_what_was_measured_before_does_not_count(robot: RosRobot, node: FakeNode) -> None:
    joints(node, 100)
    cube(node, 100)
    node.clock.nanoseconds = 150 * MS
    robot.forget()
    joints(node, 140)
    cube(node, 140)
    assert robot.observe() is None
    assert robot.wait_for_observation(0.0, threading.Event()) is None
    joints(node, 160)
    cube(node, 160)
    assert robot.wait_for_observation(0.0, threading.Event()) is not None


def test_a_command_becomes_a_trajectory_with_its_stamp(robot: RosRobot, node: FakeNode) -> None:
    positions = HOME + np.linspace(0, 0.01, 4)[:, None]
    robot.command(SafeCommand(5 * MS, 0.05, positions, np.zeros_like(positions), SafetyReport()))
    (message,) = node.publisher.sent
    assert node.topic == PANDA.ros.trajectory_topic
    assert tuple(message.joint_names) == PANDA.joint_names
    assert stamp_from_message(message.header.stamp) == 5 * MS
    assert [stamp_from_message(point.time_from_start) for point in message.points] == [
        50 * MS,
        100 * MS,
        150 * MS,
        200 * MS,
    ]
    assert list(message.points[2].positions) == positions[2].tolist()


def test_release_leaves_nothing(robot: RosRobot, node: FakeNode) -> None:
    robot.release()
    assert node.topics == {}
    assert node.publisher is None
