"""An expert of less than full skill: the expert itself at 1, worse the less, the same for the same seed."""

import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.sim.factory import make_world, task_config
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.skill import LessSkilled, skilled_expert
from praxon.targets import load_option

SEEDS = episode_seeds(Purpose.COLLECT, 5, 8)


@pytest.fixture(scope="module")
def world():
    return make_world(task_config("lift"), load_option("robot", "panda"))


def test_full_skill_is_the_expert_itself(world):
    expert = world.expert()
    assert skilled_expert(world, 1.0, expert) is expert
    heights = np.ones(len(world.push_heights(1.0, 1.0)))
    plain = [world.run(world.expert(), seed).steps for seed in SEEDS[:2]]
    assert [
        world.run(LessSkilled(world.expert(), world.contract, 1.0, heights), seed).steps for seed in SEEDS[:2]
    ] == plain


def test_less_skill_solves_less(world):
    solved = [sum(world.run(skilled_expert(world, skill), seed).success for seed in SEEDS) for skill in (1.0, 0.6, 0.0)]
    assert solved[0] == len(SEEDS) > solved[2]
    assert solved[0] >= solved[1] >= solved[2]


def test_an_episode_depends_on_its_seed_alone(world):
    expert = skilled_expert(world, 0.5)
    first = [world.run(expert, seed) for seed in SEEDS[:2]]
    again = [world.run(expert, seed) for seed in reversed(SEEDS[:2])]
    assert [r.metrics for r in first] == [r.metrics for r in reversed(again)]


def test_what_is_done_lags_what_was_meant(world):
    class Counting:
        def reset(self, seed):
            self.count = 0

        def act(self, observation):
            self.count += 1
            return np.full((1, 8), float(self.count))

    agent = LessSkilled(Counting(), world.contract, 0.5, np.zeros(8))
    observation = world.first_observation(0)
    agent.reset(0)
    done = [agent.act(observation)[0, 0] for _ in range(6)]
    assert done == [1, 1, 1, 2, 3, 4]  # 0.1 s late, two ticks


@pytest.mark.parametrize("skill", [-0.1, 1.1])
def test_impossible_skills_are_refused(world, skill):
    with pytest.raises(ConfigError, match="0 \\(the worst\\) to 1"):
        skilled_expert(world, skill)
