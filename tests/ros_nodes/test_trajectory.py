"""The trajectory follower: through every point, without a jump at any splice, at rest after the end."""

import numpy as np
import pytest

from praxon.errors import RobotError
from praxon.robots.base import SafeCommand, SafetyReport
from praxon.robots.panda import PANDA
from praxon.ros_nodes.trajectory import Trajectory, TrajectoryFollower, clamped, command_trajectory, ordered

MS = 1_000_000


def cubic(t_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities of two joints on cubics of time: Hermite segments reproduce them exactly."""
    t = np.asarray(t_s)[..., None]
    a, b = np.array([1.0, -2.0]), np.array([0.3, 4.0])
    return a * t**2 + b * t**3, 2 * a * t + 3 * b * t**2


def points(stamp_ns: int, times_ms: list[float], positions: np.ndarray, velocities: np.ndarray) -> Trajectory:
    times_ns = stamp_ns + np.array([round(t * MS) for t in times_ms], dtype=np.int64)
    return Trajectory(("a", "b"), stamp_ns, times_ns, positions, velocities)


def along_cubic(stamp_ns: int, times_ms: list[float]) -> Trajectory:
    positions, velocities = cubic(np.array(times_ms) / 1e3)
    velocities[-1] = 0
    return points(stamp_ns, times_ms, positions, velocities)


def test_stands_until_told() -> None:
    follower = TrajectoryFollower(np.array([0.1, 0.2]))
    assert follower.sample(0).tolist() == follower.sample(10**18).tolist() == [0.1, 0.2]


def test_hits_every_point_with_its_velocity_and_is_exact_on_cubics() -> None:
    follower = TrajectoryFollower(np.zeros(2))
    trajectory = along_cubic(1000, [50, 100, 150, 200])
    follower.replace(trajectory, 1000)
    for time_ns, position, velocity in zip(
        trajectory.times_ns, trajectory.positions, trajectory.velocities, strict=True
    ):
        found, speed = follower.state(int(time_ns))
        np.testing.assert_allclose(found, position, rtol=0, atol=1e-12)
        np.testing.assert_allclose(speed, velocity, rtol=0, atol=1e-10)
    for t_ms in np.linspace(0, 150, 31):
        position, velocity = cubic(np.array(t_ms / 1e3))
        found, speed = follower.state(1000 + round(t_ms * MS))
        np.testing.assert_allclose(found, position, atol=1e-10)
        np.testing.assert_allclose(speed, velocity, atol=1e-8)


def test_holds_the_last_point() -> None:
    follower = TrajectoryFollower(np.zeros(2))
    trajectory = along_cubic(0, [50, 100])
    follower.replace(trajectory, 0)
    assert follower.moving(99 * MS)
    assert not follower.moving(100 * MS)
    for late_ns in (100 * MS, 101 * MS, 10**15):
        position, velocity = follower.state(late_ns)
        assert position.tolist() == trajectory.positions[-1].tolist()
        assert velocity.tolist() == [0, 0]


@pytest.mark.parametrize("stamp_ms", [20, 80, 130])
def test_neither_position_nor_velocity_jumps_where_a_new_trajectory_takes_over(stamp_ms: int) -> None:
    follower = TrajectoryFollower(np.zeros(2))
    follower.replace(along_cubic(0, [50, 100, 150, 200]), 0)
    received_ns = 80 * MS
    start_ns = max(stamp_ms * MS, received_ns)
    before = [follower.state(t_ns) for t_ns in range(received_ns, start_ns + 1, MS)]
    after = points(stamp_ms * MS, [100, 150, 200], np.array([[0.3, 0.1], [0.2, 0.1], [0.2, 0.0]]), np.zeros((3, 2)))
    follower.replace(after, received_ns)
    for expected, t_ns in zip(before, range(received_ns, start_ns + 1, MS), strict=True):
        np.testing.assert_allclose(follower.state(t_ns), expected, atol=1e-12)
    position, velocity = follower.state(start_ns)
    shortly, _ = follower.state(start_ns + 1000)
    np.testing.assert_allclose((shortly - position) / 1e-6, velocity, atol=1e-2)
    np.testing.assert_allclose(follower.sample((stamp_ms + 200) * MS), [0.2, 0.0], atol=1e-12)


def test_points_that_have_passed_are_dropped() -> None:
    follower = TrajectoryFollower(np.zeros(2))
    follower.replace(along_cubic(0, [50, 100, 150]), 120 * MS)
    assert follower.sample(120 * MS).tolist() == [0, 0]
    np.testing.assert_allclose(follower.sample(150 * MS), cubic(np.array(0.15))[0])


def test_a_stream_of_commands_with_previews_is_the_motion_that_was_meant() -> None:
    follower = TrajectoryFollower(np.zeros(2))
    for tick in range(10):
        times = [50.0 * (i + 1) for i in range(4)]
        positions, velocities = cubic((np.array(times) + 50 * tick) / 1e3)
        velocities[-1] = 0
        received_ms = 50 * tick + (3 if tick else 0)  # every one but the first is a little late
        follower.replace(points(tick * 50 * MS, times, positions, velocities), received_ms * MS)
        for t_ms in range(received_ms, 50 * tick + 53):
            np.testing.assert_allclose(follower.sample(t_ms * MS), cubic(np.array(t_ms / 1e3))[0], atol=1e-10)


def test_what_cannot_be_followed_is_refused_and_the_present_motion_continues() -> None:
    follower = TrajectoryFollower(np.zeros(2))
    good = along_cubic(0, [50, 100])
    follower.replace(good, 0)
    moving = points(0, [50, 100], good.positions, np.ones((2, 2)))
    with pytest.raises(RobotError, match="ends in motion"):
        follower.replace(moving, 0)
    with pytest.raises(RobotError, match="do not increase"):
        follower.replace(along_cubic(0, [100, 50]), 0)
    with pytest.raises(RobotError, match=r"over 0\.900 s before"):
        follower.replace(along_cubic(0, [50, 100]), 1000 * MS)
    assert follower.sample(100 * MS).tolist() == good.positions[-1].tolist()


def test_rows_of_a_command_are_reached_one_period_after_each_other() -> None:
    positions = np.arange(6.0).reshape(3, 2)
    command = SafeCommand(7, 0.05, positions, np.zeros((3, 2)), SafetyReport())
    trajectory = command_trajectory(command, ("a", "b"))
    assert trajectory.stamp_ns == 7
    assert (trajectory.times_ns - 7).tolist() == [50 * MS, 100 * MS, 150 * MS]


def test_columns_follow_the_names() -> None:
    names = tuple(reversed(PANDA.joint_names))
    values = np.arange(8.0)[None]
    trajectory = Trajectory(names, 0, np.array([MS]), values, 10 * values)
    found = ordered(trajectory, PANDA)
    assert found.positions[0].tolist() == list(range(7, -1, -1))
    assert found.velocities[0].tolist() == [10 * i for i in range(7, -1, -1)]


@pytest.mark.parametrize("names", [PANDA.joint_names[:-1], (*PANDA.joint_names, "other"), ()])
def test_missing_and_unknown_joints_are_refused(names: tuple[str, ...]) -> None:
    values = np.zeros((1, len(names)))
    with pytest.raises(RobotError, match="it must name panda_joint1, "):
        ordered(Trajectory(names, 0, np.array([MS]), values, values), PANDA)


def test_positions_outside_the_limits_are_clamped_and_told() -> None:
    home = np.array(PANDA.home)[None]
    inside = Trajectory(PANDA.joint_names, 0, np.array([MS]), home, np.zeros_like(home))
    assert clamped(inside, PANDA) == (inside, False)
    outside, changed = clamped(Trajectory(PANDA.joint_names, 0, np.array([MS]), home + 10, np.zeros_like(home)), PANDA)
    assert changed
    assert outside.positions[0].tolist() == PANDA.limit("upper").tolist()
