"""Transforms form a group that keeps lengths, and move bodies as a rotation matrix and a mirror say."""

import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.sim.factory import make_robot, make_task
from praxon.sim.registration import own_tasks
from praxon.sim.symmetry import IDENTITY, Anchor, Symmetry, Transform

RNG = np.random.default_rng(0)
TRANSFORMS = [
    Transform(*RNG.uniform(-3, 3, 1), tuple(RNG.uniform(-1, 1, 3)), mirrored) for mirrored in [False, True] * 3
]
POINTS = RNG.uniform(-1, 1, (20, 3))
MIRROR = np.diag([1.0, -1.0, 1.0])


def same(one, other):
    return one.mirrored == other.mirrored and np.allclose(one.position(POINTS), other.position(POINTS), atol=1e-12)


def rotation(pose):
    """Matrix of a pose's quaternion."""
    w, x, y, z = pose[3:]
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def about_vertical(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def pose_at(x, y, yaw):
    return np.array([x, y, 0.02, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])


# -- the group -------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", TRANSFORMS[:4])
@pytest.mark.parametrize("first", TRANSFORMS[2:])
def test_composition_is_one_after_the_other(first, second):
    both = second @ first
    assert np.allclose(both.position(POINTS), second.position(first.position(POINTS)), atol=1e-12)
    assert np.isclose(np.cos(both.yaw(0.3) - second.yaw(first.yaw(0.3))), 1)
    assert np.allclose(both.pose(pose_at(0.1, 0.2, 0.3)), second.pose(first.pose(pose_at(0.1, 0.2, 0.3))))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_identity_and_inverse(transform):
    assert same(transform @ IDENTITY, transform)
    assert same(IDENTITY @ transform, transform)
    assert same(transform @ transform.inverse(), IDENTITY)
    assert same(transform.inverse() @ transform, IDENTITY)


def test_association():
    a, b, c = TRANSFORMS[1:4]
    assert same((a @ b) @ c, a @ (b @ c))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_lengths_are_kept_and_heights_shifted(transform):
    moved = transform.position(POINTS)
    assert np.allclose(np.linalg.norm(np.diff(moved, axis=0), axis=1), np.linalg.norm(np.diff(POINTS, axis=0), axis=1))
    assert np.allclose(moved[:, 2] - POINTS[:, 2], transform.shift[2])


# -- what becomes of points and bodies -------------------------------------------------------------


def test_by_hand():
    quarter = Transform(np.pi / 2, (1.0, 0.0, 0.5))
    assert np.allclose(quarter.position(np.array([2.0, 3.0, 0.0])), [-2.0, 2.0, 0.5])
    mirrored = Transform(np.pi / 2, (1.0, 0.0, 0.5), mirrored=True)
    assert np.allclose(mirrored.position(np.array([2.0, 3.0, 0.0])), [4.0, 2.0, 0.5])
    assert np.isclose(mirrored.yaw(0.3), np.pi / 2 - 0.3)


@pytest.mark.parametrize("plane", [0.0, np.pi / 2, 0.4])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_body_is_moved_with_every_point_of_it(transform, plane):
    """A mirrored body fills the mirrored space: its own mirror in ``plane`` undoes the change of handedness."""
    quaternion = RNG.normal(size=4)
    pose = np.concatenate([[0.4, -0.1, 0.3], quaternion / np.linalg.norm(quaternion)])
    turn = about_vertical(transform.angle) @ (MIRROR if transform.mirrored else np.eye(3))
    own = about_vertical(plane) @ MIRROR @ about_vertical(-plane) if transform.mirrored else np.eye(3)
    moved = transform.pose(pose, plane)
    assert np.allclose(rotation(moved), turn @ rotation(pose) @ own, atol=1e-12)
    assert moved[3] >= 0


@pytest.mark.parametrize("mirrored", [False, True])
def test_transforms_take_the_anchors_from_here_to_there(mirrored):
    symmetry = Symmetry((Anchor("block", plane=np.pi / 2), Anchor("marker", round=True)))
    here = {"block": pose_at(0.4, 0.1, 0.3), "marker": pose_at(0.5, -0.1, 0.0)}
    there = {"block": pose_at(0.6, -0.2, -1.2), "marker": pose_at(0.45, 0.15, 0.0)}
    block, marker = symmetry.transforms(here, there, mirrored)
    assert np.allclose(block.pose(here["block"], np.pi / 2), there["block"])
    assert np.allclose(marker.position(here["marker"][:3]), there["marker"][:3])
    assert block.mirrored == marker.mirrored == mirrored
    assert marker.angle == block.angle  # a round marker turns with what is put on it


# -- what tasks declare ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", own_tasks())
def test_a_task_declares_anchors_that_it_observes_or_nothing(name):
    task = make_task(name, make_robot("panda"))
    assert task.symmetry is None or {anchor.body for anchor in task.symmetry.anchors} <= set(task.objects)


def test_a_goal_that_stays_leaves_no_symmetry_and_the_others_have_one():
    robot = make_robot("panda")
    declared = {name for name in own_tasks() if make_task(name, robot).symmetry is not None}
    assert {"lift", "pick_place", "reach"} <= declared
    assert "push_t" not in declared


def test_a_symmetry_without_anchors_is_refused():
    with pytest.raises(ConfigError, match="at least one anchor"):
        Symmetry(())
