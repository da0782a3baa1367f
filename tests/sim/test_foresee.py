"""Looking ahead: what is foreseen is what then happens, and what happens does not depend on who looked."""

from pathlib import Path

import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.robots.plan import PlanAgent
from praxon.sim.factory import make_world
from praxon.targets import load_option

PICK_PLACE = load_option("task", "pick_place")
MOVING = {**PICK_PLACE, "moving": {"speed": 0.05, "jump": 0.08, "jump_s": 1.0}}
HORIZON = 12


class Looks:
    """The expert; looks ahead at every ``every`` steps, at itself, at a wild plan, and at an expert that begins anew."""

    def __init__(self, world, every):
        self.world, self.every = world, every
        self.expert, self.other = world.expert(), world.expert()

    def reset(self, seed):
        self.expert.reset(seed)
        self.other.reset(seed)
        self.step, self.foreseen = 0, {}

    def act(self, observation):
        actions = self.expert.act(observation)
        if self.every and self.step % self.every == 0:
            wild = actions[0] + np.sin(np.arange(6.0))[:, None]
            self.world.foresee(PlanAgent(wild), HORIZON)
            self.foreseen[self.step] = self.world.foresee(self.other, HORIZON)
            self.world.foresee(PlanAgent(-wild), HORIZON)
        self.step += 1
        return actions


def episode(world, agent, seed, steps):
    """Everything that was seen, asked for and sent at each step, and the rewards."""
    seen, rewards = [], []

    def note(tick):
        features = [np.ravel(value).astype(np.float64) for value in tick.observation.features.values()]
        seen.append(np.concatenate([*features, tick.action, tick.command.positions[0], tick.command.velocities[0]]))

    world.step_limit = min(world.step_limit, steps)
    result = world.run(agent, seed, [note], judged=lambda judgement: rewards.append(judgement.reward))
    return np.array(seen), np.array(rewards), result


@pytest.mark.parametrize(("task", "steps"), [("pick_place", 120), ("lift", 90), (MOVING, 60)])
def test_an_episode_is_the_same_to_the_bit_whoever_looked_ahead(task, steps):
    world = make_world(task)
    blind, rewards, result = episode(world, Looks(world, every=0), 3, steps)
    agent = Looks(world, every=7)
    looked, rewarded, same = episode(world, agent, 3, steps)
    np.testing.assert_array_equal(looked, blind)
    np.testing.assert_array_equal(rewarded, rewards)
    assert (same.steps, same.success, same.clamped, same.metrics) == (
        result.steps,
        result.success,
        result.clamped,
        result.metrics,
    )
    # An expert without memory does next what it was foreseen to do, a moving target included.
    assert len(agent.foreseen) == -(-len(rewards) // 7)
    for step, foreseen in agent.foreseen.items():
        came = rewards[step : step + HORIZON]
        if not result.success or step + len(came) < len(rewards):
            np.testing.assert_array_equal(foreseen[: len(came)], came)


def test_the_rest_of_the_horizon_counts_as_solved_from_success_on():
    world = make_world("reach")
    ahead = []

    class Once(Looks):
        def act(self, observation):
            if self.step == 0:
                ahead.append(self.world.foresee(self.other, 400))
            return super().act(observation)

    _, rewards, result = episode(world, Once(world, every=0), 2, 400)
    assert result.success
    np.testing.assert_array_equal(ahead[0][: len(rewards) - 1], rewards[:-1])
    assert (ahead[0][len(rewards) - 1 :] == 1.0).all()


def test_before_an_episode_there_is_nothing_to_foresee():
    world = make_world("reach")
    with pytest.raises(ConfigError, match="before an episode has begun"):
        world.foresee(world.expert(), 4)


# -- gymnasium environments -------------------------------------------------------------------------------------------


def test_an_environment_whose_state_cannot_be_put_back_is_refused(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    config = {**load_option("task", "gym"), "env_id": "Mass-v0", "module": "gym_worlds", "expert": "gym_worlds.expert"}
    world = make_world(config)
    with pytest.raises(ConfigError, match=r"'Mass'.*only environments on MuJoCo"):
        world.foresee(world.expert(), 4)


def test_state_of_an_unknown_kind_is_named():
    pytest.importorskip("metaworld")
    world = make_world("metaworld/reach-v3")
    world.first_observation(0)
    world.env.unwrapped.memory = {"of": [iter("abc")]}
    with pytest.raises(ConfigError, match=r"SawyerReachEnvV3\.memory\.of\[0\] is a str_ascii_iterator"):
        world.foresee(world.expert(), 4)


@pytest.mark.parametrize("task", ["metaworld/push-v3", "metaworld/door-open-v3", "metaworld/basketball-v3"])
def test_a_meta_world_episode_is_the_same_to_the_bit_whoever_looked_ahead(task):
    pytest.importorskip("metaworld")
    world = make_world(task)
    blind, rewards, result = episode(world, Looks(world, every=0), 3, 120)
    agent = Looks(world, every=9)
    looked, rewarded, same = episode(world, agent, 3, 120)
    np.testing.assert_array_equal(looked, blind)
    np.testing.assert_array_equal(rewarded, rewards)
    assert (same.steps, same.success) == (result.steps, result.success)
    for step, foreseen in agent.foreseen.items():
        came = rewards[step : step + HORIZON - 1]
        if step + HORIZON < len(rewards):
            np.testing.assert_array_equal(foreseen[: len(came)], came)


def test_the_last_steps_of_a_meta_world_episode_can_be_foreseen_too():
    """Its environments raise at a step beyond the last."""
    pytest.importorskip("metaworld")
    world = make_world("metaworld/reach-v3")
    found = []

    class Idle(Looks):
        def act(self, observation):
            if self.step >= world.step_limit - 3:
                found.append(self.world.foresee(PlanAgent(np.zeros((1, 4))), HORIZON))
            self.step += 1
            return np.zeros((1, 4))

    result = world.run(Idle(world, every=0), 0)
    assert result.steps == world.step_limit
    assert [each.shape for each in found] == [(HORIZON,)] * 3


def test_a_wrapped_mujoco_environment_counts_its_steps_as_if_nobody_had_looked():
    config = {**load_option("task", "gym"), "env_id": "HalfCheetah-v5", "max_steps": 30}
    world = make_world(config)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (30, 6))

    class Plays:
        def __init__(self, every):
            self.every = every

        def reset(self, seed):
            self.step = 0

        def act(self, observation):
            if self.every and self.step % self.every == 0:
                world.foresee(PlanAgent(-actions), 20)
            self.step += 1
            return actions[self.step - 1][None]

    blind, rewards, result = episode(world, Plays(0), 1, 30)
    looked, rewarded, same = episode(world, Plays(4), 1, 30)
    assert result.steps == same.steps == 30
    np.testing.assert_array_equal(looked, blind)
    np.testing.assert_array_equal(rewarded, rewards)
