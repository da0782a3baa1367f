"""A target that moves: as fast as asked, the same for the same seed, never off the table, and only where a task has one."""

import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.sim.factory import make_simulation, make_task, make_world
from praxon.sim.moving import AREA, Motion
from praxon.targets import load_option

PICK_PLACE = load_option("task", "pick_place")


def path_of(motion, seed, ticks=60):
    """Where the marker was seen at each tick, (ticks, 2) [m]."""
    world = make_simulation({**PICK_PLACE, "moving": motion})
    seen = []
    world.step_limit = ticks
    world.run(world.idle(), seed, [lambda tick: seen.append(tick.observation.features["observation.goal_pose"][:2])])
    return np.array(seen)


def test_it_drifts_as_fast_and_jumps_as_far_as_asked_and_stays_on_the_table():
    path = path_of({"speed": 0.02, "jump": 0.08, "jump_s": 1.0}, 4)
    low, high = np.array(AREA)
    assert ((path >= low - 1e-6) & (path <= high + 1e-6)).all()
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert np.median(steps) == pytest.approx(0.02 * 0.05, rel=1e-3)
    # At the edge a part of the way is gone back.
    assert int(np.argmax(steps)) == 20
    assert 0.03 < steps[20] <= 0.08 + 0.02 * 0.05 + 1e-6


def test_the_seed_decides_where_to_and_nobody_else():
    motion = {"speed": 0.05}
    np.testing.assert_array_equal(path_of(motion, 4, 20), path_of(motion, 4, 20))
    here, there = (path_of(motion, seed, 20) for seed in (4, 5))
    assert np.abs(np.diff(here, axis=0)[5] - np.diff(there, axis=0)[5]).max() > 1e-4
    still = path_of({"speed": 0.0}, 4, 20)
    assert np.ptp(still, axis=0).max() == 0
    np.testing.assert_allclose(still[0], here[0], atol=1e-6)  # it starts where it would have stayed


def test_the_expert_follows():
    world = make_world({**PICK_PLACE, "moving": {"speed": 0.02, "jump": 0.08, "jump_s": 2.0}})
    assert all(world.run(world.expert(), seed).success for seed in (1, 3, 5))


def test_what_cannot_move_so_is_refused():
    robot = make_simulation("reach").scene.robot
    with pytest.raises(ConfigError, match=r"'lift' has no target that may move"):
        make_task({**load_option("task", "lift"), "moving": {"speed": 0.1}}, robot)
    with pytest.raises(ConfigError, match="has no 'sped'.*Did you mean 'speed'"):
        make_task({**PICK_PLACE, "moving": {"sped": 0.1}}, robot)
    for wrong in (-0.1, "fast", float("inf"), True):
        with pytest.raises(ConfigError, match="a number from 0 on"):
            Motion(speed=wrong)
