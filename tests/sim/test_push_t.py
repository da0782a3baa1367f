"""push_t: coverage as areas by hand and by counting points, what counts as solved, and the expert."""

import mujoco
import numpy as np
import pytest

from praxon.robots.panda import PANDA
from praxon.sim.contract import offered_contract
from praxon.sim.episode import Simulation
from praxon.sim.scene import Scene
from praxon.sim.tasks.push_t import FACE_M2, GOAL, HEIGHT_M, OUTLINE, RECTANGLES, UNIT_M, PushT, PushTExpert, coverage


@pytest.fixture(scope="module")
def simulation():
    task = PushT(PANDA)
    return Simulation(task, Scene(PANDA, task.world), offered_contract(PANDA, task, 0.05))


def at_goal(x, y, yaw=0.0):
    """The goal moved by (x, y) in its own frame and turned by ``yaw``."""
    cos, sin = np.cos(GOAL[2]), np.sin(GOAL[2])
    return GOAL + [cos * x - sin * y, sin * x + cos * y, yaw]


def inside(points, pose):
    """Which points (N, 2) lie in the T at a pose (3,)."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    local = (points - pose[:2]) @ np.array([[cos, -sin], [sin, cos]])
    return np.any([((local >= lower) & (local <= upper)).all(axis=1) for lower, upper in RECTANGLES], axis=0)


# -- shape ----------------------------------------------------------------------------------------


def test_the_frame_is_at_the_centroid():
    areas = (RECTANGLES[:, 1] - RECTANGLES[:, 0]).prod(axis=1)
    assert areas.sum() == pytest.approx(FACE_M2)
    assert areas @ RECTANGLES.mean(axis=1) == pytest.approx([0, 0], abs=1e-12)


def test_the_proportions_are_the_literatures():
    """Bar 120 x 30, stem 30 x 90."""
    sizes = RECTANGLES[:, 1] - RECTANGLES[:, 0]
    assert sizes / UNIT_M * 30 == pytest.approx(np.array([[120, 30], [30, 90]]))


@pytest.mark.parametrize("body", ["tee", "goal"])
def test_the_world_shows_this_shape(simulation, body):
    for part, (lower, upper) in zip(("bar", "stem"), RECTANGLES, strict=True):
        geom = simulation.scene.model.geom(f"{body}_{part}")
        assert geom.pos[:2] == pytest.approx((lower + upper) / 2, abs=1e-7)
        assert geom.size[:2] == pytest.approx((upper - lower) / 2, abs=1e-7)


def test_the_outline_encloses_the_rectangles():
    x, y = OUTLINE.T
    area = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2
    assert area == pytest.approx(FACE_M2)


def test_centre_of_mass_is_the_frame(simulation):
    tee = simulation.scene.model.body("tee")
    assert tee.ipos == pytest.approx([0, 0, 0], abs=1e-6)
    assert 0.1 <= tee.mass[0] <= 0.3


# -- coverage -------------------------------------------------------------------------------------


def test_covers_all_at_the_goal_and_nothing_far_away():
    assert coverage(GOAL, GOAL) == pytest.approx(1)
    assert coverage(GOAL + [1.0, 0, 0], GOAL) == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_shifted_along_the_bar(share):
    """By d < one unit: d times the full height of 4 is left uncovered, and the T is 7 units large."""
    assert coverage(at_goal(share * UNIT_M, 0), GOAL) == pytest.approx(1 - 4 * share / 7)


def test_shifted_along_the_stem():
    """By half a unit: half times the full width of 4 is left uncovered."""
    assert coverage(at_goal(0, -0.5 * UNIT_M), GOAL) == pytest.approx(1 - 0.5 * 4 / 7)


def test_turned_by_180_degrees():
    """About the centroid: bars lie at y in [5, 19] and [-19, -5] fourteenths, stems of width 1 share [-19, 19].

    Bars share nothing; each T's bar covers all of the other's stem there, 14/14 x 1; the stems share the 10/14 between.
    """
    assert coverage(at_goal(0, 0, np.pi), GOAL) == pytest.approx((2 * 1 + 10 / 14) / 7)


def test_agrees_with_counting_points():
    rng = np.random.default_rng(0)
    poses = GOAL + rng.uniform([-0.08, -0.08, -np.pi], [0.08, 0.08, np.pi], (20, 3))
    points = GOAL[:2] + rng.uniform(-0.12, 0.12, (200_000, 2))
    points = points[inside(points, GOAL)]
    counted = [inside(points, pose).mean() for pose in poses]
    assert [coverage(pose, GOAL) for pose in poses] == pytest.approx(counted, abs=0.01)


def test_is_the_same_whichever_t_is_the_goal():
    rng = np.random.default_rng(1)
    for pose in GOAL + rng.uniform(-0.1, 0.1, (20, 3)):
        assert coverage(pose, GOAL) == pytest.approx(coverage(GOAL, pose))


# -- task -----------------------------------------------------------------------------------------


def test_a_tilted_or_lifted_block_covers_nothing(simulation):
    simulation.reset(0)
    scene, task = simulation.scene, simulation.task
    flat = np.array([np.cos(GOAL[2] / 2), 0, 0, np.sin(GOAL[2] / 2)])
    on_table = np.array([*GOAL[:2], HEIGHT_M / 2])
    for position, quaternion, expected in (
        (on_table, flat, 1.0),
        (on_table + [0, 0, 0.02], flat, 0.0),
        (on_table, np.array([np.cos(0.1), np.sin(0.1), 0, 0]), 0.0),
    ):
        scene.place("tee", position, quaternion)
        mujoco.mj_kinematics(scene.model, scene.data)
        assert task.metrics(scene)["coverage"] == pytest.approx(expected)
        assert task.reward(scene) == pytest.approx(expected)
        assert task.success(scene) == (expected == 1.0)


def test_starts_with_closed_fingers_away_from_the_block(simulation):
    for seed in range(20):
        start = simulation.reset(seed)
        scene = simulation.scene
        assert start[PANDA.index("panda_finger_joint1")] == 0
        assert scene.data.site_xpos[scene.tool_site][2] > 0.1
        assert simulation.task.metrics(scene)["coverage"] <= 0.5


def test_the_block_stays_put_unless_pushed(simulation):
    class Still:
        def reset(self, seed):
            pass

        def act(self, observation):
            return observation.features["observation.state"][None].astype(float)

    simulation.reset(3)
    before = simulation.scene.pose(simulation.scene.body("tee"))
    simulation.run(Still(), 3)
    after = simulation.scene.pose(simulation.scene.body("tee"))
    assert after == pytest.approx(before, abs=5e-4)


# -- expert ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 4, 12, 20])
def test_the_expert_solves_it(simulation, seed):
    result = simulation.run(simulation.task.expert(simulation.scene, 0.05), seed)
    assert result.success
    assert result.metrics["max_coverage"] >= 0.95
    assert result.seconds < 0.5 * PushT.time_limit_s


def test_the_expert_is_deterministic_and_forgets(simulation):
    expert = PushTExpert(PANDA, 0.05)
    first = actions(simulation, expert, 7)
    actions(simulation, expert, 1)
    assert np.array_equal(actions(simulation, expert, 7), first)


def test_the_expert_keeps_a_solved_block_solved(simulation):
    seen = []
    result = simulation.run(
        simulation.task.expert(simulation.scene, 0.05),
        1,
        [lambda tick: seen.append(simulation.task.metrics(simulation.scene)["coverage"])],
        linger_s=3.0,
    )
    assert result.success
    assert min(seen[-20:]) >= 0.94


def test_the_expert_goes_on_after_someone_moved_the_block(simulation):
    """At every half second for three seconds the block is put elsewhere, also under the hand."""

    def meddle(tick):
        if tick.index in range(10, 61, 10):
            rng = np.random.default_rng(tick.index)
            pose = np.array([*rng.uniform([0.45, -0.15], [0.6, 0.15]), HEIGHT_M / 2])
            tool = simulation.scene.data.site_xpos[simulation.scene.tool_site]
            if np.linalg.norm(tool[:2] - pose[:2]) > 0.15 or tool[2] > 0.05:
                simulation.scene.place("tee", pose, np.array([np.cos(tick.index), 0, 0, np.sin(tick.index)]))

    assert simulation.run(simulation.task.expert(simulation.scene, 0.05), 5, [meddle]).success


def actions(simulation, expert, seed):
    taken = []
    simulation.run(expert, seed, [lambda tick: taken.append(tick.action)])
    return np.stack(taken)
