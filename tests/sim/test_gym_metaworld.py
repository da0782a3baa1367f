"""Meta-World: starts follow the seed, the goal is seen, experts stay inside the bounds, episodes end before they raise."""

from types import SimpleNamespace

import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.sim.factory import make_world
from praxon.sim.gym_metaworld import COMPONENTS
from praxon.sim.gym_views import make_view
from praxon.sim.perturbation import PerturbedAgent
from praxon.sim.recording import record_episode
from praxon.sim.rendering import rendering_problem
from praxon.sim.seeds import Purpose, episode_seeds

pytest.importorskip("metaworld")

SEEDS = episode_seeds(Purpose.EVALUATE, 5, 4)


@pytest.fixture(scope="module")
def assembly():
    return make_world("metaworld/assembly-v3")


def recorded(world, seed):
    agent = PerturbedAgent(world.expert(), world.push_heights(0.0, 0.0), world.contract.chunk.control_period_s)
    return record_episode(world, agent, seed)


def test_the_contract_names_all_39_numbers_at_80_hz(assembly):
    state = assembly.contract.observations[0]
    assert (state.name, state.shape, state.names) == ("observation.state", (39,), COMPONENTS)
    assert dict(zip(state.names, state.units, strict=True))["goal_x"] == "m"
    assert assembly.contract.chunk.control_period_s == 1 / 80
    assert (assembly.contract.task, assembly.instruction) == ("metaworld/assembly-v3", "assembly")


def test_the_same_seed_gives_the_same_episode_whatever_came_before(assembly):
    fresh = make_world("metaworld/assembly-v3")
    first = {seed: recorded(assembly, seed).frames for seed in SEEDS}
    for seed in reversed(SEEDS):
        again = recorded(fresh, seed).frames
        assert all(np.array_equal(again[name], first[seed][name]) for name in again)
    goals = {frames["observation.state"][0, -3:].tobytes() for frames in first.values()}
    assert len(goals) == len(SEEDS)


def test_the_observation_is_now_the_step_before_and_the_goal(assembly):
    demonstration = recorded(assembly, SEEDS[0])
    state = demonstration.frames["observation.state"]
    assert demonstration.result.success
    assert np.array_equal(state[1:, 18:36], state[:-1, :18])
    assert np.array_equal(state[0, 18:36], state[0, :18])
    assert (state[:, -3:] == state[0, -3:]).all()
    assert np.abs(state[0, -3:] - assembly.env.unwrapped._target_pos).max() < 1e-6


def test_what_is_stored_is_what_was_done_although_the_expert_asks_for_more(assembly):
    demonstration = recorded(assembly, SEEDS[1])
    script = assembly.task.script(assembly.env)
    asked = np.stack([script(state) for state in demonstration.frames["observation.state"].astype(np.float64)])
    assert np.abs(asked).max() > 2
    assert np.abs(demonstration.frames["action"] - np.clip(asked, -1, 1)).max() < 1e-4  # observations are float32
    assert demonstration.result.clamped == 0.0


def test_recorded_actions_replayed_from_the_same_start_solve_it_again(assembly):
    demonstration = recorded(assembly, SEEDS[3])
    actions = iter(demonstration.frames["action"])
    replay = SimpleNamespace(reset=lambda seed: None, act=lambda observation: next(actions)[None])
    seen = []
    result = assembly.run(replay, SEEDS[3], [lambda tick: seen.append(tick.observation.features["observation.state"])])
    assert result.success
    assert result.steps == demonstration.result.steps
    assert np.abs(np.stack(seen) - demonstration.frames["observation.state"]).max() < 1e-3


def test_an_episode_of_nothing_ends_at_the_limit():
    world = make_world("metaworld/reach-v3")
    result = world.run(world.idle(), SEEDS[0])
    assert (result.steps, result.success, result.clamped) == (500, False, 0.0)
    short = make_world("metaworld/reach-v3?max_steps=20")
    assert short.run(short.idle(), SEEDS[0]).steps == 20


def test_an_episode_stops_at_success_or_lingers():
    world = make_world("metaworld/pick-place-v3")
    at_once = world.run(world.expert(), SEEDS[2])
    longer = world.run(world.expert(), SEEDS[2], linger_s=0.5)
    assert at_once.success
    assert longer.steps == at_once.steps + 40


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="no 'hamer-v3'. Did you mean 'hammer-v3'"):
        make_world("metaworld/hamer-v3")


@pytest.mark.render
@pytest.mark.skipif(rendering_problem() is not None, reason=str(rendering_problem()))
def test_cameras_show_the_world_upright():
    """The model's corner cameras stand on their heads; their pictures are turned, those of other cameras are not."""
    world = make_world("metaworld/reach-v3", cameras=["corner2", "topview"], image_size=[48, 64])
    features = world.first_observation(SEEDS[0]).features
    assert features["observation.images.corner2"].shape == (48, 64, 3)
    assert world.filming_problem() is None
    view = world.view(48, 64)
    assert np.array_equal(view.render(), features["observation.images.corner2"])
    data = world.env.unwrapped.data
    assert data.camera("corner2").xmat.reshape(3, 3)[2, 1] < 0  # the camera's upward axis points down
    for name, turn in (("corner2", -1), ("topview", 1)):
        raw = make_view(world.env, name, 48, 64).render()
        assert np.array_equal(raw[::turn, ::turn], features[f"observation.images.{name}"])
    view.close()
