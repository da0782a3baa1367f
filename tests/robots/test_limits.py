"""MotionLimits: numbers worked out by hand, closed form against brute force, targets met without running past."""

from dataclasses import replace

import numpy as np
import pytest

from praxon.errors import RobotError
from praxon.robots.limits import Motion, MotionLimits
from praxon.robots.panda import PANDA
from praxon.robots.spec import JointLimits, RobotSpec


def one_joint(**limits: float) -> RobotSpec:
    """A robot of one joint with these limits, for the mathematics only: it has no model of its own."""
    values = {"lower": -100.0, "upper": 100.0, "velocity": 10.0, "acceleration": 1.0, "jerk": 1000.0, "effort": 1.0}
    joint = replace(PANDA.joints[0], limits=JointLimits(**{**values, **limits}))
    return replace(PANDA, joints=(joint,), home=(0.0,), gripper=None)


def hardest_braking(limits: MotionLimits, position: float, velocity: float, acceleration: float) -> float:
    """The furthest a joint gets when it brakes as hard as allowed, step by step."""
    period, furthest = limits.period_s, position
    while velocity > 0 or acceleration > 0:
        acceleration = max(acceleration - limits.jerk[0] * period, -limits.acceleration[0])
        velocity += acceleration * period
        position += velocity * period
        furthest = max(furthest, position)
    return furthest


def test_room_for_three_two_one():
    # 1 m/s^2 at 1 s: from 3 m/s the joint moves 3, 2, 1 and stands. With 6 m of room 3 m/s is therefore the most.
    limits = MotionLimits(one_joint(upper=6.0, velocity=3.0), 1.0)
    fast = Motion(np.zeros(1), np.array([3.0]), np.zeros(1))
    first = limits.approach(fast, np.array([6.0]), None)
    assert first.position == pytest.approx(3.0)
    second = limits.approach(first, np.array([6.0]), None)
    third = limits.approach(second, np.array([6.0]), None)
    assert (second.position[0], third.position[0]) == pytest.approx((5.0, 6.0))


def test_room_left_over_is_spread():
    # With 7 m: v + (v-1) + (v-2) + (v-3) <= 7 gives v = 13/4.
    limits = MotionLimits(one_joint(upper=7.0), 1.0)
    moving = Motion(np.zeros(1), np.array([4.0]), np.zeros(1))
    assert limits.approach(moving, np.array([7.0]), None).velocity == pytest.approx(3.25)


def test_velocity_limit_is_approached_as_jerk_allows():
    # Jerk 1, period 1: acceleration 1, then 1.5 and 0.5, from which it falls to 0 with the velocity at 3, no further.
    # After 1 m/s, x + (x - 1) = 3 - 1 gives x = 1.5.
    limits = MotionLimits(one_joint(velocity=3.0, acceleration=2.0, jerk=1.0), 1.0)
    motion, velocities = Motion.rest(np.zeros(1)), []
    for _ in range(5):
        motion = limits.approach(motion, np.array([99.0]), None)
        velocities.append(motion.velocity[0])
    assert velocities == pytest.approx([1.0, 2.5, 3.0, 3.0, 3.0])


@pytest.mark.parametrize("period_s", [0.05, 0.01, 0.002])
def test_position_bound_is_exact(period_s):
    """Given exactly the room that hardest braking needs, the bound is the velocity it was needed for."""
    random = np.random.default_rng(0)
    limits = MotionLimits(one_joint(velocity=0.5, jerk=20.0), period_s)
    for velocity, acceleration in zip(random.uniform(0, 0.5, 100), random.uniform(-1, 1, 100), strict=True):
        room = hardest_braking(limits, velocity * period_s, velocity, acceleration)
        before = velocity - acceleration * period_s
        assert limits._ceiling(0, room, before) == pytest.approx(velocity, abs=1e-9)


@pytest.mark.parametrize("period_s", [0.05, 0.02, 0.01, 0.005, 0.002, 0.001])
@pytest.mark.parametrize("size", [0.4, 0.003])
def test_a_step_is_met_without_running_past(period_s, size):
    limits, home = MotionLimits(PANDA, period_s), np.array(PANDA.home)
    target = home + size * np.array([1, 1, -1, 1, 1, 1, -1, -0.05])
    motion, previous = Motion.rest(home), None
    for _ in range(round(1.5 / period_s)):
        motion, previous = limits.approach(motion, target, previous), target
        assert ((motion.position - target) * np.sign(target - home) <= 0).all()
    assert motion.at_rest
    assert (motion.position == target).all()


@pytest.mark.parametrize("period_s", [0.05, 0.002])
def test_a_moving_target_is_caught_and_then_followed_to_the_bit(period_s):
    limits, home = MotionLimits(PANDA, period_s), np.array(PANDA.home)
    velocity = np.array([0.8, 0.5, -0.8, 0.5, 0.8, 0.5, -0.8, -0.01])
    targets = [home + 0.1 * velocity + velocity * period_s * k for k in range(round(1.2 / period_s))]
    motion, previous = Motion.rest(home), None
    for target in targets:
        motion, previous = limits.approach(motion, target, previous), target
    assert (motion.position == targets[-1]).all()


@pytest.mark.parametrize("period_s", [0.05, 0.01, 0.002])
def test_travel_bounds_braking_and_the_quick_path_is_the_same(period_s):
    random = np.random.default_rng(1)
    limits = MotionLimits(PANDA, period_s)
    motion, target = Motion.rest(np.array(PANDA.home)), np.array(PANDA.home)
    for _ in range(120):
        if random.random() < 0.2:
            target = random.uniform(limits.lower, limits.upper)
        motion = limits.approach(motion, target, None)
        path = limits.brake_path(motion)
        assert (np.abs(path - motion.position) <= limits.travel(motion) + 1e-12).all()
        assert motion.at_rest or (path[-1] == path[-2]).all()
        assert ((path >= limits.lower) & (path <= limits.upper)).all()
        if random.random() < 0.1:
            slow, rows = motion, [motion.position]
            while not slow.at_rest:
                slow = limits.brake(slow)
                rows.append(slow.position)
            shared = min(len(path), len(rows))  # rounding may leave 1e-17 for one more row
            assert abs(len(path) - len(rows)) <= 1
            np.testing.assert_allclose(path[:shared], rows[:shared], atol=1e-9)
            np.testing.assert_allclose(path[-1], rows[-1], atol=1e-9)


def test_limits_that_contradict_each_other_are_refused():
    with pytest.raises(RobotError, match=r"panda_joint1.*velocity of 0.1.*jerk of 1"):
        MotionLimits(one_joint(velocity=0.1, acceleration=1.0, jerk=1.0), 0.01)
    with pytest.raises(RobotError, match="period"):
        MotionLimits(PANDA, 0.0)
