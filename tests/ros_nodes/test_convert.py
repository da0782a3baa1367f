"""Messages and arrays: round trips to the bit, and what is refused, by which name it is counted."""

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from praxon.errors import ContractError
from praxon.ros_nodes import convert
from praxon.ros_nodes.convert import MessageError
from praxon.ros_nodes.trajectory import Trajectory

NAMES = ("a", "b", "c")
STAMP_NS = 1_750_000_000_123_456_789


def cause(function, *arguments) -> str:
    with pytest.raises(MessageError) as caught:
        function(*arguments)
    return caught.value.cause


@pytest.mark.parametrize("stamp_ns", [0, 1, 999_999_999, 1_000_000_000, STAMP_NS])
def test_stamps_survive_to_the_nanosecond(stamp_ns: int) -> None:
    assert convert.stamp_from_message(convert.stamp_to_message(stamp_ns)) == stamp_ns


def test_joints_are_matched_by_name_and_extra_ones_ignored() -> None:
    message = JointState(name=["c", "extra", "a", "b"], position=[3.0, 9.0, 1.0, 2.0])
    assert convert.joints_from_message(message, NAMES).tolist() == [1, 2, 3]


def test_joints_survive_to_the_bit() -> None:
    positions = np.random.default_rng(0).normal(size=3).astype(np.float32)
    message = convert.joints_to_message(NAMES, positions, STAMP_NS, velocities=2 * positions)
    back = convert.joints_from_message(message, NAMES)
    assert back.dtype == np.float32
    assert back.tobytes() == positions.tobytes()
    assert convert.stamp_from_message(message.header.stamp) == STAMP_NS


def test_a_missing_joint_is_named_and_never_zero() -> None:
    with pytest.raises(MessageError, match=r"^A JointState lacks b; it has a, c\.$") as caught:
        convert.joints_from_message(JointState(name=["a", "c"], position=[1.0, 3.0]), NAMES)
    assert caught.value.cause == "missing_joint"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite_are_refused_where_they_are_read(value: float) -> None:
    message = JointState(name=["a", "b", "c", "extra"], position=[1.0, value, 3.0, 4.0])
    assert cause(convert.joints_from_message, message, NAMES) == "nonfinite"
    assert convert.joints_from_message(message, ("a", "c")).tolist() == [1, 3]


def test_names_and_positions_must_be_as_many() -> None:
    assert cause(convert.joints_from_message, JointState(name=["a", "b"], position=[1.0]), ("a",)) == "malformed"


def test_a_quarter_turn_about_z_is_written_xyzw_and_read_wxyz() -> None:
    half = np.sqrt(0.5)
    message = convert.pose_to_message(np.array([1, 2, 3, half, 0, 0, half]), "base", STAMP_NS)
    orientation = message.pose.orientation
    assert (orientation.x, orientation.y, orientation.z, orientation.w) == (0, 0, half, half)
    expected = np.array([1, 2, 3, half, 0, 0, half], dtype=np.float32)
    assert convert.pose_from_message(message, "base").tobytes() == expected.tobytes()


def test_equal_rotations_are_equal_arrays() -> None:
    pose = np.array([0, 0, 0, -0.5, 0.5, -0.5, 0.5])
    back = convert.pose_from_message(convert.pose_to_message(pose, "base", 0), "base")
    assert back[3:].tolist() == [0.5, -0.5, 0.5, -0.5]


def test_poses_in_another_frame_or_without_a_rotation_are_refused() -> None:
    message = convert.pose_to_message(np.array([0, 0, 0, 1, 0, 0, 0]), "camera", 0)
    with pytest.raises(MessageError, match=r"^A pose is in frame 'camera'; 'base' is expected\.$"):
        convert.pose_from_message(message, "base")
    unset = convert.pose_to_message(np.zeros(7), "base", 0)
    assert cause(convert.pose_from_message, unset, "base") == "malformed"


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_pictures_survive_to_the_bit(encoding: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    message = convert.image_to_message(picture, "front", STAMP_NS, encoding)
    assert np.array_equal(convert.image_from_message(message, (4, 6, 3)), picture)


def test_blue_comes_first_in_bgr8() -> None:
    red = np.zeros((1, 1, 3), dtype=np.uint8)
    red[..., 0] = 200
    assert list(convert.image_to_message(red, "front", 0, "bgr8").data) == [0, 0, 200]


def test_padded_rows_are_cut() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    message = convert.image_to_message(picture, "front", 0)
    message.step = 8
    message.data = b"".join(row.tobytes() + b"\xff\xff" for row in picture)
    assert np.array_equal(convert.image_from_message(message, (2, 2, 3)), picture)


def test_pictures_of_another_size_encoding_or_length_are_refused() -> None:
    message = convert.image_to_message(np.zeros((2, 2, 3), dtype=np.uint8), "front", 0)
    assert cause(convert.image_from_message, message, (2, 3, 3)) == "malformed"
    message.data = message.data[:-1]
    assert cause(convert.image_from_message, message, (2, 2, 3)) == "malformed"
    message.encoding = "mono8"
    assert cause(convert.image_from_message, message, (2, 2, 3)) == "malformed"


def trajectory() -> Trajectory:
    random = np.random.default_rng(1)
    times_ns = STAMP_NS + np.array([50_000_000, 100_000_000, 1_150_000_000])
    return Trajectory(NAMES, STAMP_NS, times_ns, random.normal(size=(3, 3)), random.normal(size=(3, 3)))


def test_trajectories_survive_to_the_bit() -> None:
    sent = trajectory()
    back = convert.trajectory_from_message(convert.trajectory_to_message(sent), received_ns=0)
    assert (back.names, back.stamp_ns) == (sent.names, sent.stamp_ns)
    for name in ("times_ns", "positions", "velocities"):
        assert getattr(back, name).tobytes() == getattr(sent, name).tobytes()


def test_a_trajectory_with_stamp_zero_begins_when_it_is_received() -> None:
    message = convert.trajectory_to_message(trajectory())
    message.header.stamp = convert.stamp_to_message(0)
    back = convert.trajectory_from_message(message, received_ns=7)
    assert back.stamp_ns == 7
    assert back.times_ns[0] == 50_000_007


def test_trajectories_that_cannot_be_followed_are_refused() -> None:
    message = convert.trajectory_to_message(trajectory())
    message.points[1].velocities = []
    assert cause(convert.trajectory_from_message, message, 0) == "malformed"
    message = convert.trajectory_to_message(trajectory())
    message.points[2].positions = [0.0, float("nan"), 0.0]
    assert cause(convert.trajectory_from_message, message, 0) == "nonfinite"
    message.points = []
    assert cause(convert.trajectory_from_message, message, 0) == "malformed"


def test_a_feature_that_no_message_carries_is_refused_with_the_kinds_there_are() -> None:
    from praxon.contract import Feature
    from praxon.robots.panda import PANDA
    from praxon.ros_nodes.streams import stream

    with pytest.raises(ContractError, match=r"kind 'vector' has no ROS message\. Kinds: joint_position, pose, image\."):
        stream(Feature("observation.x", "vector", (2,)), PANDA)
