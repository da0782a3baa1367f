"""Goals in simulation: what the task says, seen as any observation; they are solutions, and they change nothing else."""

import numpy as np
import pytest

from praxon.contract import Feature
from praxon.errors import ContractError
from praxon.sim.factory import is_environment, make_simulation
from praxon.sim.rendering import rendering_problem
from praxon.sim.task import TOOL
from praxon.targets import load_option, options

CUBE = "observation.cube_pose"


def settle(scene):
    import mujoco  # not before praxon.sim has chosen how it renders

    mujoco.mj_forward(scene.model, scene.data)


def with_goals(task, goals, cameras=(), **more):
    """A simulation for a policy that wants these goals."""
    offered = make_simulation(task, cameras=cameras, **more).contract
    return make_simulation(task, policy_contract=offered.with_goals(goals))


@pytest.mark.parametrize(("task", "body"), [("pick_place", "cube"), ("push_t", "tee")])
def test_a_world_at_its_goal_is_solved(task, body):
    simulation = with_goals(task, [f"observation.{body}_pose"])
    scene = simulation.scene
    for seed in range(3):
        simulation.reset(seed)
        goal = simulation.robot.observe().features[f"goal.observation.{body}_pose"].astype(float)
        assert not simulation.task.success(scene)
        scene.place(body, goal[:3], goal[3:])
        if scene.robot.gripper is not None and task == "pick_place":
            scene.data.qpos[scene.joint_qpos[scene.robot.index(scene.robot.gripper)]] = 0.04
        settle(scene)
        assert simulation.task.success(scene)


def test_the_tool_at_its_goal_has_reached():
    simulation = with_goals("reach", ["observation.tool_pose"], tool_pose=True)
    simulation.reset(1)
    goal = simulation.robot.observe().features["goal.observation.tool_pose"]
    np.testing.assert_allclose(goal[:3], simulation.scene.position("goal"), atol=1e-6)
    expert = simulation.expert()
    assert simulation.run(expert, 1).success
    tool = simulation.robot.observe().features["observation.tool_pose"]
    assert np.abs(tool[:3] - goal[:3]).max() < 0.02
    assert abs(tool[3:] @ goal[3:]) > 0.99


def test_what_the_expert_reaches_is_the_goal_of_lift():
    simulation = with_goals("lift", [CUBE])
    assert simulation.run(simulation.expert(), 2, linger_s=2.0).success
    last = simulation.robot.observe().features
    assert np.abs(last[CUBE][:3] - last[f"goal.{CUBE}"][:3]).max() < 0.02


def test_goals_change_nothing_else():
    plain, aimed = make_simulation("pick_place"), with_goals("pick_place", [CUBE])
    results = [simulation.run(simulation.expert(), 5) for simulation in (plain, aimed)]
    assert results[0].steps == results[1].steps
    assert np.array_equal(plain.scene.data.qpos, aimed.scene.data.qpos)


@pytest.mark.render
@pytest.mark.skipif(rendering_problem() is not None, reason="no OpenGL")
def test_a_goal_picture_shows_the_objects_where_they_shall_be():
    camera = "observation.images.front"
    simulation = with_goals("pick_place", [camera], cameras=["front"])
    simulation.reset(0)
    seen = simulation.robot.observe().features
    goal = simulation.task.goal(simulation.scene)["cube"]
    assert (seen[camera] != seen[f"goal.{camera}"]).any()
    simulation.scene.place("cube", goal[:3], goal[3:])
    settle(simulation.scene)
    assert np.array_equal(simulation.robot.observe().features[camera], seen[f"goal.{camera}"])
    simulation.robot.close()


@pytest.mark.render
@pytest.mark.skipif(rendering_problem() is not None, reason="no OpenGL")
def test_a_camera_that_serves_the_goal_alone_is_not_rendered_at_every_tick():
    contract = make_simulation("pick_place", cameras=["front"]).contract
    contract = contract.with_goals(["observation.images.front"])
    names = [feature.name for feature in contract.observations if feature.name != "observation.images.front"]
    simulation = make_simulation("pick_place", policy_contract=contract.with_observations(names))
    simulation.reset(0)
    seen = simulation.robot.observe().features
    assert "goal.observation.images.front" in seen
    assert "observation.images.front" not in seen
    simulation.robot.close()


def test_a_goal_that_the_task_does_not_know_is_a_mismatch_with_both_sides():
    contract = make_simulation("pick_place").contract.with_goals(["observation.goal_pose"])
    with pytest.raises(ContractError, match="'goal.observation.goal_pose': policy needs it, here only"):
        make_simulation("pick_place", policy_contract=contract)


def test_the_task_is_told_one_hot():
    contract = make_simulation("lift").contract
    known = contract.with_tasks(("Stack.", "Lift the cube."))
    simulation = make_simulation("lift", policy_contract=known)
    assert simulation.first_observation(0).features["task"].tolist() == [0.0, 1.0]
    with pytest.raises(ContractError, match=r"does not know the task 'Lift the cube.'.*trained on: Stack.; Open\.$"):
        make_simulation("lift", policy_contract=contract.with_tasks(("Stack.", "Open.")))


@pytest.mark.parametrize("task", [name for name in options("task") if not is_environment(load_option("task", name))])
def test_a_task_says_where_all_its_goals_are(task):
    simulation = make_simulation(task)
    simulation.reset(0)
    goal = simulation.task.goal(simulation.scene)
    assert set(goal) == set(simulation.task.goals)
    assert set(goal) <= {TOOL, *simulation.task.objects}
    for pose in goal.values():
        assert pose.shape == (7,)
        assert np.linalg.norm(pose[3:]) == pytest.approx(1)
    assert not simulation.task.knows(Feature("observation.other_pose", "pose", (7,), source="other"))
