"""Any gymnasium environment as a world: features, episodes, seeds, bounds, names that bring it back, mistakes in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from praxon.contract import GOAL
from praxon.errors import ConfigError, ContractError
from praxon.sim.factory import is_environment, make_world, task_config, task_name
from praxon.sim.gym_task import GymTask
from praxon.sim.perturbation import PerturbedAgent
from praxon.sim.recording import record_episode
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.task import Task
from praxon.sim.world import Judgement
from praxon.targets import load_option, load_target, options

SEEDS = episode_seeds(Purpose.COLLECT, 0, 6)
PERIOD_S = 0.1


@pytest.fixture(autouse=True)
def _worlds_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def config(env_id="Mass-v0", **settings):
    return {
        **load_option("task", "gym"),
        "env_id": env_id,
        "module": "gym_worlds",
        "expert": "gym_worlds.expert",
    } | settings


class Asks:
    """An agent that asks for these actions, one after another, then for the last one."""

    def __init__(self, *actions):
        self.actions, self.index = actions, 0

    def reset(self, seed):
        self.index = 0

    def act(self, observation):
        action = self.actions[min(self.index, len(self.actions) - 1)]
        self.index += 1
        return None if action is None else np.array([action])


# -- features ----------------------------------------------------------------------------------------


def test_a_plain_array_is_the_state():
    contract = make_world(config()).contract
    assert [(f.name, f.shape, f.source) for f in contract.observations] == [("observation.state", (4,), "state")]
    assert (contract.robot, contract.action.kind, contract.action.shape) == ("gymnasium", "vector", (2,))
    assert contract.chunk.control_period_s == PERIOD_S  # render_fps


def test_a_dictionary_is_read_by_its_mapping_and_pictures_are_pictures():
    mapping = {
        "agent_pos": "observation.state",
        "target/place": "observation.goal",
        "pixels/top": "observation.images.top",
    }
    world = make_world(config("Pictured-v0", observations=mapping))
    observation = world.first_observation(SEEDS[0])
    assert list(observation.features) == ["observation.state", "observation.goal", "observation.images.top"]
    for feature in world.contract.observations:
        feature.check(observation.features[feature.name])
    inner = world.env.unwrapped
    assert np.array_equal(observation.features["observation.goal"], inner.target.astype(np.float32))
    assert np.array_equal(observation.features["observation.state"], inner.place.astype(np.float32))
    assert (observation.features["observation.images.top"] == 7).all()


def test_what_cannot_be_observed_is_named_and_can_be_left_out():
    with pytest.raises(ConfigError, match=r"'target/kind'.*Discrete\(3\).*task.observations"):
        make_world(config("Pictured-v0"))
    with pytest.raises(ConfigError, match=r"observes no 'agent_po'.*Did you mean 'agent_pos'"):
        make_world(config("Pictured-v0", observations={"agent_po": "observation.state"}))
    with pytest.raises(ConfigError, match=r"like observation.place"):
        make_world(config("Pictured-v0", observations={"agent_pos": "place"}))


def test_the_usual_names():
    names = [feature.name for feature in make_world(config("Reaching-v0")).contract.observations]
    assert names == ["observation.achieved_goal", "observation.desired_goal", "observation.state"]


def test_pictures_that_the_environment_renders_are_scaled():
    world = make_world(config(), cameras=["render"], image_size=[20, 30])
    picture = world.first_observation(0).features["observation.images.render"]
    assert picture.shape == (20, 30, 3)
    assert (picture == 100).all()
    again = make_world(config(), policy_contract=world.contract)
    assert again.contract == world.contract
    with pytest.raises(ConfigError, match="no camera 'front'.* Cameras: render"):
        make_world(config(), cameras=["front"])


def test_a_policy_is_given_the_goal_and_the_task_that_it_knows():
    own = make_world(config("Reaching-v0")).contract
    asked = own.with_goals(["observation.achieved_goal"]).with_tasks(["other", "Reaching-v0"])
    world = make_world(config("Reaching-v0"), policy_contract=asked)
    features = world.first_observation(SEEDS[0]).features
    assert np.array_equal(features[GOAL + "observation.achieved_goal"], features["observation.desired_goal"])
    assert features["task"].tolist() == [0, 1]
    with pytest.raises(ContractError, match="does not know the task 'Reaching-v0'"):
        make_world(config("Reaching-v0"), policy_contract=own.with_tasks(["other", "another"]))
    with pytest.raises(ContractError, match=r"'goal.observation.state'"):
        make_world(config("Reaching-v0"), policy_contract=own.with_goals(["observation.state"]))


# -- episodes ----------------------------------------------------------------------------------------


def test_an_episode_by_hand():
    """From (-0.5, 0) to (1, 0) at most 0.2 per step: 8 steps, and as much longer as one lingers."""
    world = make_world(config(metrics=["away"]))
    reset = world.task.reset

    def placed(env, seed):
        reset(env, seed)
        env.unwrapped.place, env.unwrapped.target = np.array([-0.5, 0.0]), np.array([1.0, 0.0])
        return env.unwrapped.observed()

    world.task.reset = placed
    result = world.run(world.expert(), 0)
    assert (result.success, result.steps, result.seconds) == (True, 8, pytest.approx(0.8))
    aways = [1.3, 1.1, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0]
    assert result.mean_reward == pytest.approx(-np.mean(aways))
    assert result.metrics == pytest.approx({"max_away": 1.3, "min_away": 0.0, "return": -sum(aways)}, abs=1e-6)
    assert world.run(world.expert(), 0, linger_s=0.5).steps == 13
    assert world.run(world.idle(), 0).steps == 30
    assert not world.run(world.idle(), 0).success


def test_an_environment_that_ends_ends_the_episode_and_max_steps_limits_it():
    world = make_world(config(kwargs={"ends_when_solved": True}))
    result = world.run(world.expert(), SEEDS[0], linger_s=1.0)
    assert result.success
    assert result.steps < 20  # nothing to linger in
    assert make_world(config("Endless-v0", max_steps=7)).run(Asks([0.0, 0.0]), 0).steps == 7
    with pytest.raises(ConfigError, match="have no end; task.max_steps=500"):
        make_world(config("Endless-v0"))


def test_who_judges_instead_of_the_world_is_not_told_of_a_failure_where_the_world_ends_solved():
    class NotYet:
        def reset(self):
            pass

        def __call__(self, features):
            return Judgement(0.0, False, {})

    world, found = make_world(config(kwargs={"ends_when_solved": True})), []
    world.run(world.expert(), SEEDS[0], judged=found.append)
    assert (found[-1].ended, found[-1].success) == (True, True)
    world.verdict = NotYet()
    world.run(world.expert(), SEEDS[0], judged=found.append)
    assert (found[-1].ended, found[-1].truncated, found[-1].success) == (False, True, False)


def test_success_by_return_and_by_a_key_that_empties():
    silent = {"kwargs": {"says_success": False}}
    world = make_world(config(**silent))
    assert not world.run(world.expert(), SEEDS[0]).success
    assert make_world(config(**silent, success_return=-1e9)).run(Asks([0.0, 0.0]), 0).success
    with pytest.raises(ConfigError, match="no 'solved' in its info.* success, away"):
        make_world(config(success="solved")).run(Asks([0.0, 0.0]), 0)
    with pytest.raises(ConfigError, match="no 'far' in its info, which task.metrics names; there are success, away"):
        make_world(config(metrics=["far"])).run(Asks([0.0, 0.0]), 0)
    task = GymTask("gym", "Mass-v0", success="not left")
    assert [task.solved({"left": left}, 0.0, False) for left in (["kettle"], [])] == [False, True]


@pytest.mark.parametrize(
    ("env_id", "settings", "steps"),
    [
        ("Mass-v0", {"kwargs": {"says_success": False}, "success_return": -12.0}, 30),
        ("Endless-v0", {"kwargs": {"says_success": False}, "success_return": -12.0, "max_steps": 30}, 30),
        ("Pendulum-v1", {"module": None, "success_return": -200}, 200),
    ],
)
def test_negative_rewards_are_summed_to_the_end_before_they_are_judged(env_id, settings, steps):
    """Every sum of negative rewards begins above a negative threshold; who does nothing falls below it later."""
    result = (world := make_world(config(env_id, **settings))).run(world.idle(), SEEDS[1])
    assert (result.success, result.steps) == (False, steps)
    assert result.metrics["return"] < settings["success_return"]


def test_a_return_is_judged_where_the_environment_ends_the_episode():
    solves = {"ends_when_solved": True, "says_success": False}
    world = make_world(config(kwargs=solves, success_return=-12.0))
    result = world.run(world.expert(), SEEDS[1])
    assert result.success
    assert result.steps < 30
    assert not make_world(config(kwargs=solves, success_return=0.0)).run(world.expert(), SEEDS[1]).success


def test_actions_are_kept_inside_the_bounds_and_that_is_counted():
    world = make_world(config(max_steps=4))
    ticks = []
    nan = float("nan")
    result = world.run(Asks([5.0, -5.0], None, [nan, 0.0], [2.0, -1.0]), SEEDS[0], [ticks.append])
    assert [tick.command.report.causes for tick in ticks] == [("box",), ("no_action",), ("nonfinite",), ()]
    assert all(tick.command.positions.tolist() == [[2.0, -1.0]] for tick in ticks)  # the last one is repeated
    assert ticks[0].command.report.deviation == 4.0
    assert result.clamped == 0.75
    first = []
    make_world(config(max_steps=1)).run(Asks(None), SEEDS[0], [first.append])
    assert first[0].command.positions.tolist() == [[0.0, 0.0]]


def test_an_environment_of_nominal_bounds_gets_what_was_asked():
    world = make_world(config(max_steps=1, clip_actions=False))
    world.env.unwrapped.action_space = world.env.action_space.__class__(-9, 9, (2,))
    tick = []
    world.run(Asks([5.0, -5.0]), 0, [tick.append])
    assert tick[0].command.positions.tolist() == [[5.0, -5.0]]


def test_recorded_actions_are_what_moved_the_recorded_states():
    world = make_world(config())
    agent = PerturbedAgent(world.expert(), world.push_heights(1.0, 0.0), PERIOD_S)
    frames = record_episode(world, agent, SEEDS[0], 0.3).frames
    state, action = frames["observation.state"], frames["action"]
    assert np.abs(np.diff(state[:, :2], axis=0) - 0.1 * action[:-1]).max() < 1e-6
    assert action.min() >= -1  # the expert asks for more than is allowed
    assert action.max() <= 2


def test_pushes_move_the_body_and_leave_the_recorded_intention_alone():
    world = make_world(config())
    assert world.push_heights(joint_rad=1.0, box_share=0.2).tolist() == pytest.approx([0.3, 0.3])
    assert (world.push_heights(joint_rad=1.0, box_share=0.0) == 0).all()
    agent = PerturbedAgent(world.expert(), world.push_heights(0.0, 0.5), PERIOD_S, rate_hz=10.0)
    frames = record_episode(world, agent, SEEDS[0]).frames
    moved = np.diff(frames["observation.state"][:, :2], axis=0)
    assert np.abs(moved - 0.1 * frames["action"][:-1]).max() > 1e-3


def test_the_same_seed_gives_the_same_episode_whatever_came_before():
    def episode(world, seed):
        return record_episode(
            world, PerturbedAgent(world.expert(), world.push_heights(0.0, 0.3), PERIOD_S), seed
        ).frames

    world, fresh = make_world(config()), make_world(config())
    first = [episode(world, seed) for seed in SEEDS]
    again = [episode(fresh, seed) for seed in reversed(SEEDS)][::-1]
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert len({frames["observation.state"][0].tobytes() for frames in first}) == len(SEEDS)


def test_stamps_are_the_grid_of_the_control_period():
    world = make_world(config(max_steps=5, control_hz=30))
    stamps = []
    world.run(Asks([0.0, 0.0]), 0, [lambda tick: stamps.append(tick.observation.stamp_ns)])
    assert stamps == [i * 33_333_333 for i in range(5)]
    with pytest.raises(ConfigError, match="control_hz is 20; .* steps 30 times"):
        make_world(config(control_hz=30), control_period_s=0.05)


# -- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kwargs": {"spread": 0.5}},
        {"kwargs": {"text": "a=b&c+d%e ü", "list": [1, {"x": None}]}, "success": "not left_over", "max_steps": 3},
        {"observations": {"target/place": "observation.state"}, "clip_actions": False},
    ],
)
def test_the_name_in_a_contract_brings_the_environment_back(settings):
    given = {**load_option("task", "gym"), "env_id": "gym_worlds:Mass-v0", **settings}
    assert task_config(task_name(given)) == given


def test_the_name_is_plain_where_nothing_differs():
    assert task_name({**load_option("task", "gym"), "env_id": "Pendulum-v1", "expert": "a.b"}) == "gym/Pendulum-v1"
    assert task_name({**load_option("task", "metaworld"), "env_name": "hammer-v3"}) == "metaworld/hammer-v3"
    assert task_name(load_option("task", "lift")) == "lift"
    with pytest.raises(ConfigError, match="cannot be read"):
        task_config("gym/Pendulum-v1?kwargs={")
    with pytest.raises(ConfigError, match="There is no task 'gim'"):
        task_config("gim/Pendulum-v1")


# -- configs and mistakes ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", options("task"))
def test_every_task_config_is_one_of_ours_or_an_environment_of_the_files_name(name):
    found = load_option("task", name)
    kind = load_target(found["_target_"])
    if not is_environment(found):
        assert issubclass(kind, Task)
        assert kind.name == name
        return
    assert found["name"] == name
    if found.get(kind.variant) is None:
        return
    try:
        world = make_world(found)
    except ConfigError as error:
        missing = str(error)
    else:
        missing = ""
    if missing:
        assert "is not installed here. To install it: pip install" in missing
        pytest.skip(missing)
    assert world.contract.task == task_name(found)
    assert task_config(world.contract.task) == found


def test_a_namespace_is_a_package_only_until_the_environment_is_there():
    make_world(config())  # registers all of them
    assert make_world(config("elsewhere/Mass-v0", module=None)).contract.task.startswith("gym/elsewhere/Mass-v0")


def test_what_is_missing_or_wrong_is_said_in_one_sentence():
    for settings, sentence in (
        (
            {"module": "gym_nowhere", "install": "pip install gym-nowhere"},
            "package 'gym_nowhere'.*pip install gym-nowhere",
        ),
        ({"env_id": None}, "task.env_id=Pendulum-v1"),
        ({"env_id": "Maas-v0"}, "no gymnasium environment 'Maas-v0'.*Did you mean 'Mass-v0'"),
        ({"env_id": "Moved-v0"}, "'Moved-v0' needs more than is installed here: .*gym_gone"),
        ({"env_id": "nowhere/Mass-v0", "module": None}, "package 'nowhere', which is not installed"),
        ({"env_id": "Switch-v0"}, r"takes actions of Discrete\(2\)"),
        ({"kwargs": {"speed": 3}}, "'Mass-v0' cannot be made: TypeError.*speed"),
        ({"nonsense": 1}, "nonsense"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            make_world(config(**settings))
    with pytest.raises(ConfigError, match="has no scripted expert; task.expert="):
        make_world(config(expert=None)).expert()
    with pytest.raises(ConfigError, match="has no tool_pose"):
        make_world(config(), tool_pose=True)
