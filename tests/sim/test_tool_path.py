"""Carrying a path over: rigid near the anchors, straight ways stay straight, speeds stay, and the identity changes nothing."""

from itertools import pairwise

import numpy as np
import pytest

from praxon.errors import RobotError
from praxon.robots.spec import Workspace
from praxon.sim.symmetry import IDENTITY, Anchor, Transform
from praxon.sim.tool_path import ToolPath, carried

CUBE, GOAL = np.array([0.5, 0.1, 0.02]), np.array([0.5, -0.2, 0.02])
ANCHORS = (Anchor("cube", near_m=0.0505), Anchor("goal", near_m=0.0505, round=True))
STEP = 0.01


def line(*corners):
    """Points ``STEP`` apart on straight lines through the corners."""
    rows = [np.array(corners[0])[None]]
    for begin, end in pairwise(corners):
        count = round(np.linalg.norm(np.subtract(end, begin)) / STEP)
        rows.append(np.linspace(begin, end, count + 1)[1:])
    return np.concatenate(rows)


def path():
    """From a home to the cube straight, down onto it and up, across and down onto the goal, and up."""
    up = np.array([0, 0, 0.05])
    positions = line([0.3, 0.1, 0.07], CUBE + up, CUBE, CUBE + up, GOAL + up, GOAL, GOAL + up)
    at_cube, at_goal = (np.linalg.norm(positions - place, axis=1).argmin() for place in (CUBE, GOAL))
    rows = np.arange(len(positions))
    grippers = np.where((rows > at_cube) & (rows <= at_goal), 0.0, 0.04)
    return ToolPath(positions, np.zeros(len(positions)), grippers, lead_m=0.02), at_cube, at_goal


def test_the_identity_changes_nothing():
    there, *_ = path()
    same = carried(there, ANCHORS, (CUBE, GOAL), (IDENTITY, IDENTITY))
    assert np.allclose(same.positions, there.positions, atol=1e-12)
    assert np.array_equal(same.grippers, there.grippers)
    assert np.allclose(same.yaws, there.yaws)


def test_each_part_goes_with_its_anchor_and_the_start_stays():
    there, *_ = path()
    to_cube, to_goal = Transform(0.4, (0.1, -0.3, 0.0)), Transform(0.4, (-0.1, 0.1, 0.0))
    new = carried(there, ANCHORS, (CUBE, GOAL), (to_cube, to_goal))
    assert np.allclose(new.positions[0], there.positions[0])
    for place, transform in ((CUBE, to_cube), (GOAL, to_goal)):
        near = np.linalg.norm(there.positions - place, axis=1) < 0.0505
        for point in transform.position(there.positions[near]):
            row = np.linalg.norm(new.positions - point, axis=1).argmin()
            assert np.allclose(new.positions[row], point, atol=1e-9)
            assert new.yaws[row] == pytest.approx(0.4)


def test_the_gripper_closes_at_the_cube_and_opens_at_the_goal():
    there, *_ = path()
    to_cube, to_goal = Transform(-0.7, (0.3, 0.2, 0.0)), Transform(-0.7, (0.1, 0.6, 0.0))
    new = carried(there, ANCHORS, (CUBE, GOAL), (to_cube, to_goal))
    assert set(new.grippers) == {0.0, 0.04}
    changes = new.positions[np.flatnonzero(np.diff(new.grippers))]
    assert np.allclose(changes, [to_cube.position(CUBE), to_goal.position(GOAL)], atol=1e-9)


def test_straight_ways_stay_straight_at_the_same_speed():
    there, *_ = path()
    shift = Transform(0.0, (0.1, 0.25, 0.0))
    new = carried(there, ANCHORS, (CUBE, GOAL), (shift, shift))
    begin, end = there.positions[0], shift.position(CUBE + [0, 0, 0.05])
    way = new.positions[: np.linalg.norm(new.positions - end, axis=1).argmin() + 1]
    direction = (end - begin) / np.linalg.norm(end - begin)
    aside = (way - begin) - ((way - begin) @ direction)[:, None] * direction
    assert np.abs(aside).max() < 1e-9
    assert np.allclose(np.linalg.norm(np.diff(way, axis=0), axis=1), STEP, rtol=0.05)
    assert len(way) == pytest.approx(np.linalg.norm(end - begin) / STEP + 1, abs=1)


def test_a_mirror_is_carried_too():
    there, *_ = path()
    mirror = Transform(0.0, (0.0, 0.1, 0.0), mirrored=True)
    new = carried(there, ANCHORS, (CUBE, GOAL), (mirror, mirror))
    assert np.allclose(new.positions[-1], there.positions[-1] * [1, -1, 1] + [0, 0.1, 0])


def test_a_demonstration_that_never_comes_near_is_refused_by_name():
    there, *_ = path()
    with pytest.raises(RobotError, match="never comes within 0.0505 m of 'goal'"):
        carried(there, ANCHORS, (CUBE, GOAL + [0.3, 0, 0]), (IDENTITY, IDENTITY))


def test_leaving_the_workspace_is_seen():
    there, *_ = path()
    assert not there.leaves(Workspace((0.2, -0.5, 0.005), (0.8, 0.5, 0.8)))
    assert there.leaves(Workspace((0.2, -0.5, 0.03), (0.8, 0.5, 0.8)))


def test_distance_from_the_path_is_from_the_rows_just_passed():
    there, *_ = path()
    middle = there.positions[9:11].mean(axis=0)
    assert there.distance(middle + [0, 0.03, 0], 10) == pytest.approx(0.03)
    assert there.distance(middle, 10) == pytest.approx(0.0, abs=1e-12)
    assert there.distance(there.positions[0], 15, rows=6) == pytest.approx(9 * STEP)
