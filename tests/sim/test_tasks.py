"""The contract of every task of ours that has a config: deterministic, finite, not solved at the start, solved by its expert."""

import os

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from praxon.errors import RobotError
from praxon.sim.factory import make_simulation
from praxon.sim.registration import env_id, own_tasks
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.targets import load_option

TASKS = own_tasks()
SEEDS = episode_seeds(Purpose.EVALUATE, 123, 8)


@pytest.fixture(scope="module", params=TASKS)
def simulation(request):
    return make_simulation(request.param)


def trajectory(simulation, seed, actions):
    """Stacked physics states of an episode under given joint targets."""
    simulation.safety.reset(simulation.reset(seed))
    states = []
    for action in actions:
        now = simulation.robot.now_ns()
        simulation.robot.command(simulation.safety.filter(action[None], now, now))
        simulation.robot.wait_until(now + 50_000_000)
        states.append(np.concatenate([simulation.scene.data.qpos, simulation.scene.data.qvel]))
    return np.stack(states)


def random_actions(simulation, count):
    robot = simulation.scene.robot
    return np.random.default_rng(0).uniform(robot.limit("lower"), robot.limit("upper"), (count, len(robot.joints)))


def test_same_seed_same_episode_to_the_bit(simulation):
    actions = random_actions(simulation, 30)
    first = trajectory(simulation, SEEDS[0], actions)
    other = trajectory(simulation, SEEDS[1], actions)
    again = trajectory(simulation, SEEDS[0], actions)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_stays_finite_and_rewarded_under_random_actions(simulation):
    states = trajectory(simulation, SEEDS[2], random_actions(simulation, 150))
    assert np.isfinite(states).all()
    assert simulation.robot.now_ns() == 150 * 50_000_000  # MuJoCo restarts a diverged simulation, and its clock
    assert 0 <= simulation.task.reward(simulation.scene) <= 1


def test_not_solved_at_the_start(simulation):
    for seed in SEEDS:
        simulation.reset(seed)
        assert not simulation.task.success(simulation.scene)


def test_observation_is_what_the_contract_says(simulation):
    simulation.reset(SEEDS[0])
    observation = simulation.robot.observe()
    assert list(observation.features) == [feature.name for feature in simulation.contract.observations]
    for feature in simulation.contract.observations:
        feature.check(observation.features[feature.name])


def test_solved_by_its_expert(simulation):
    expert = simulation.task.expert(simulation.scene, 0.05)
    results = [simulation.run(expert, seed) for seed in SEEDS]
    assert [result.seed for result in results if not result.success] == []


def test_a_diverged_simulation_is_an_error_and_not_another_episode(simulation):
    simulation.safety.reset(simulation.reset(SEEDS[0]))
    simulation.scene.data.qvel[0] = 1e12
    with pytest.raises(RobotError, match="diverged"):
        simulation.robot.wait_until(50_000_000)
    simulation.safety.reset(simulation.reset(SEEDS[0]))
    simulation.robot.wait_until(50_000_000)


def test_every_body_and_joint_is_named(simulation):
    model = simulation.scene.model
    assert all(model.body(i).name for i in range(model.nbody))
    assert all(model.joint(i).name for i in range(model.njnt))


def test_the_environment_passes_gymnasiums_checker(simulation):
    environment = gymnasium.make(env_id(simulation.task.name)).unwrapped
    check_env(environment, skip_render_check=True)
    environment.close()


def test_the_environment_is_the_simulation(simulation):
    """The same seed and actions through gymnasium and through the simulation end in the same state, to the bit."""
    environment = gymnasium.make(env_id(simulation.task.name)).unwrapped
    environment.reset(seed=SEEDS[0])
    actions = random_actions(simulation, 10).astype(np.float32).astype(np.float64)
    for action in actions:
        environment.step(action.astype(np.float32))
    data = environment.simulation.scene.data
    assert np.array_equal(trajectory(simulation, SEEDS[0], actions)[-1], np.concatenate([data.qpos, data.qvel]))


def test_vectorised_over_processes_equals_one_process():
    vector = gymnasium.make_vec(env_id("lift"), num_envs=2, vectorization_mode="async")
    single = gymnasium.make(env_id("lift"))
    try:
        observations, _ = vector.reset(seed=[11, 12])
        action = np.stack([vector.single_action_space.low, vector.single_action_space.high])
        for _ in range(5):
            observations, rewards, *_ = vector.step(action)
        for i, seed in enumerate((11, 12)):
            single.reset(seed=seed)
            for _ in range(5):
                observation, reward, *_ = single.step(action[i])
            assert reward == rewards[i]
            for name, value in observation.items():
                assert np.array_equal(value, observations[name][i])
    finally:
        vector.close()
        single.close()


@pytest.mark.skipif("MENAGERIE_ROOT" not in os.environ, reason="MENAGERIE_ROOT names no checkout of MuJoCo Menagerie")
def test_the_expert_also_solves_it_with_menageries_model():
    simulation = make_simulation("pick_place", {**load_option("robot", "panda"), "model": "menagerie"})
    expert = simulation.task.expert(simulation.scene, 0.05)
    assert all(simulation.run(expert, seed).success for seed in SEEDS[:3])
