"""Interventions as data: late labels, masks, gates by hand, and a rollout whose every step is accounted for."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from praxon.errors import ConfigError, RobotError
from praxon.learning.interactive.experience import Experience
from praxon.learning.interactive.gates import Always, Discrepancy, Mixture, Moment, Never, Random, Stalled, mixture
from praxon.learning.interactive.lessons import of_solved_episodes
from praxon.learning.interactive.methods import method_of
from praxon.learning.interactive.records import Step, before_takeovers, columns, driven_by_expert, record_features
from praxon.learning.interactive.supervised import SupervisedAgent, roll_out
from praxon.learning.rl.decisions import TaskReward, decisions_of
from praxon.policies.agent import ChunkAgent
from praxon.policies.runtime import Runtime
from praxon.robots.hold import HoldAgent
from praxon.sim.factory import make_world, task_config
from praxon.targets import load_option


def moments(gate, progress=None, driven=None, difference=0.0, count=100):
    """Who drives at each step, where progress is what it is."""
    gate.reset(0)
    driving, found = False, []
    for step in range(count):
        now = 0.0 if progress is None else progress[min(step, len(progress) - 1)]
        policy = np.zeros(2)
        expert = np.full(2, difference[min(step, len(difference) - 1)] if isinstance(difference, list) else difference)
        driving = gate.expert_drives(Moment(step, policy, expert, now, driving))
        found.append(driving)
    return found


@pytest.mark.parametrize(
    ("driven", "blamed"),
    [
        ([0, 0, 1, 1, 0], [0, 1, 0, 0, 0]),
        ([1, 1, 0, 0], [0, 0, 0, 0]),  # at the first step there is nothing to blame
        ([0, 1, 0, 1], [1, 0, 1, 0]),
        ([0, 0, 0], [0, 0, 0]),
        ([1], [0]),
    ],
)
def test_the_step_before_each_takeover_is_blamed(driven, blamed):
    assert before_takeovers(np.array(driven, bool)).astype(int).tolist() == blamed


@pytest.fixture(scope="module")
def world():
    return make_world(task_config("reach"), load_option("robot", "panda"))


def steps(world, driven, success_at=None):
    seen = {feature.name: np.zeros(feature.shape, feature.dtype) for feature in world.contract.observations}
    size = world.contract.action.size
    nothing, one = np.zeros(size), np.ones(size)
    return [
        Step(
            seen,
            50 * i,
            np.full(size, float(i)),
            nothing,
            one,
            np.zeros((4, size)),
            i % 4 == 0,
            bool(d),
            0.1 * i,
            i == success_at,
        )
        for i, d in enumerate(driven)
    ]


def test_what_the_expert_drove_is_read_back_as_it_was_recorded(world):
    recorded = columns(world.contract, steps(world, [0, 1, 1, 0]), ended=False)
    assert driven_by_expert(recorded).tolist() == [False, True, True, False]
    watched = SimpleNamespace(columns=recorded)
    assert method_of("hg_dagger").lessons.keep(watched).tolist() == [False, True, True, False]
    assert method_of("dagger").lessons.keep(watched) is None
    shown = Experience([], [watched], None, 0).shown()
    assert [frames.tolist() for _, frames in shown] == [[1, 2]]


def test_of_episodes_that_were_solved_every_step_is_a_lesson_whoever_drove(world):
    one = columns(world.contract, steps(world, [0, 1, 0], success_at=2), ended=True)
    two = columns(world.contract, steps(world, [1, 1]), ended=False)
    three = columns(world.contract, steps(world, [0, 0, 0, 0], success_at=1), ended=False)  # solved, and lost again
    joined = {name: np.concatenate([one[name], two[name], three[name]]) for name in one}
    ends = [0, 3, 5, 9]
    watched = SimpleNamespace(columns=joined, num_episodes=3, episode_slice=lambda n: slice(ends[n], ends[n + 1]))
    assert of_solved_episodes(watched).tolist() == [True] * 3 + [False] * 2 + [True] * 4


def test_an_episode_that_ran_out_of_time_is_not_one_that_ended(world):
    late = columns(world.contract, steps(world, [0, 1, 0]), ended=False)
    assert late["next.terminal"].reshape(-1).tolist() == [0, 0, 0]
    assert late["next.timeout"].reshape(-1).tolist() == [0, 0, 1]
    done = columns(world.contract, steps(world, [0, 1, 0], success_at=2), ended=True)
    assert done["next.terminal"].reshape(-1).tolist() == [0, 0, 1]
    assert done["next.timeout"].reshape(-1).tolist() == [0, 0, 0]
    assert done["next.success"].reshape(-1).tolist() == [0, 0, 1]
    assert done["is_intervention"].reshape(-1).tolist() == [0, 1, 0]
    assert done["pre_intervention"].reshape(-1).tolist() == [1, 0, 0]
    np.testing.assert_allclose(done["next.reward"].reshape(-1), [0.0, 0.1, 0.2], rtol=1e-6)
    for feature in record_features(world.contract, 4):
        assert done[feature.name].shape == (3, *feature.shape)
        assert done[feature.name].dtype == feature.dtype


# -- gates ------------------------------------------------------------------------------------------------------------


def test_nobody_and_everybody():
    assert not any(moments(Never()))
    assert all(moments(Always()))


def test_a_mixture_draws_every_few_steps_as_often_as_asked():
    found = moments(Mixture(0.3, steps=5), count=20_000)
    assert np.mean(found) == pytest.approx(0.3, abs=0.02)
    blocks = np.array(found).reshape(-1, 5)
    assert (blocks == blocks[:, :1]).all()
    assert moments(Mixture(0.3, steps=5), count=100) == found[:100]  # the seed fixes it


def test_a_random_takeover_lasts_as_long_as_asked():
    found = np.array(moments(Random(0.05, steps=7), count=20_000))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], found.astype(int), [0]])))
    lengths = edges[1::2] - edges[::2]
    assert (lengths[:-1] % 7 == 0).all()  # one may follow another at once
    assert len(lengths) > 100


def test_a_stall_is_waited_for_and_progress_gives_control_back():
    gate = Stalled(patience=3, gain=0.1, steps=4)
    # Progress until step 2, then none until step 12, when the expert has brought some.
    progress = [0.0, 0.2, 0.4, *[0.4] * 9, 0.6, 0.6]
    found = moments(gate, progress, count=14)
    assert found.index(True) == 5  # steps 3, 4 and 5 brought nothing
    assert found[5:12] == [True] * 7
    assert found[12] is False
    # Where the expert is quick, a takeover still lasts its least length.
    quick = moments(Stalled(patience=3, gain=0.1, steps=4), [0.0, 0.0, 0.0, 0.0, 1.0], count=12)
    assert sum(quick) == 4
    assert not any(moments(Stalled(patience=3), [0.99], count=20)[4:])


@pytest.mark.parametrize(
    ("schedule", "shares"), [("exponential", [0.5, 0.25]), ("first", [1.0, 0.0]), ("constant", [0.5, 0.5])]
)
def test_mixtures_go_by_the_round_as_their_schedule_says(schedule, shares):
    found = [mixture(schedule, beta=0.5, steps=8, number=number) for number in (1, 2)]
    assert [(each.beta, each.steps) for each in found] == [(share, 8) for share in shares]


def test_disagreement_takes_control_and_agreement_gives_it_back():
    gate = Discrepancy(1.0, back=0.5, steps=3)
    found = moments(gate, difference=[0.0, 1.1, 0.7, 0.7, 0.7, 0.4, 0.7], count=8)
    assert found == [False, True, True, True, True, False, False, False]


@pytest.mark.parametrize(
    "make", [lambda: Mixture(1.5), lambda: Random(0.1, 0), lambda: Stalled(patience=0), lambda: Discrepancy(0.0)]
)
def test_impossible_gates_are_refused(make):
    with pytest.raises(ConfigError):
        make()


# -- rollouts ---------------------------------------------------------------------------------------------------------


class Towards(Runtime):
    """Chunks that hold the joints where they are; counts them."""

    def __init__(self, contract):
        self.contract, self.count = contract, 0
        self.noise_shape = (contract.chunk.horizon, contract.action.size)

    def chunks(self, window, noise, plan=None):
        self.count += 1
        held = window["observation.state"][:, -1, : self.contract.action.size]
        return np.repeat(held[:, None], self.contract.chunk.horizon, axis=1).astype(np.float32)


def test_every_step_says_who_did_what(world):
    contract = world.contract.with_chunk(horizon=8, num_execute=8)
    runtime = Towards(contract)
    agent = SupervisedAgent(ChunkAgent(runtime, world.contract), world.expert(), Random(0.1, 6))
    rollout = roll_out(world, agent, seed=0)
    frames = rollout.frames
    driven = frames["is_intervention"].reshape(-1).astype(bool)
    assert 0 < rollout.counts.intervened == driven.sum() < len(driven) == len(rollout.stamps_ns) == rollout.result.steps
    assert rollout.counts.interventions == driven[0] + np.count_nonzero(driven[1:] & ~driven[:-1])
    np.testing.assert_array_equal(frames["action"][driven], frames["expert_action"][driven])
    np.testing.assert_array_equal(frames["action"][~driven], frames["policy_action"][~driven])
    assert np.abs(frames["expert_action"] - frames["policy_action"]).max() > 0.01
    plans, decided = frames["policy_plan"].reshape(len(driven), 8, -1), frames["policy_decision"].reshape(-1) != 0
    np.testing.assert_array_equal(plans[:, 0], frames["policy_action"])
    assert decided[1:][driven[:-1]].all()  # afresh at every step after one of the expert's
    assert decided[0]
    follows = ~driven[:-1] & ~driven[1:] & ~decided[1:]
    # Until it decides again, the policy does what it planned.
    np.testing.assert_array_equal(plans[:-1, 1][follows], plans[1:, 0][follows])
    # While the expert drives, a chunk at every step; else one for eight.
    assert runtime.count > driven.sum()
    again = roll_out(world, agent, seed=0)
    for name, values in frames.items():
        np.testing.assert_array_equal(values, again.frames[name])


def test_the_expert_alone_solves_it_and_the_episode_ends_there(world):
    contract = world.contract.with_chunk(horizon=8, num_execute=8)
    agent = SupervisedAgent(ChunkAgent(Towards(contract), world.contract), world.expert(), Always())
    rollout = roll_out(world, agent, seed=1)
    assert rollout.result.success
    assert rollout.frames["next.terminal"][-1, 0] == rollout.frames["next.success"][-1, 0] == 1
    assert rollout.counts.interventions == 1
    idle = SupervisedAgent(ChunkAgent(Towards(contract), world.contract), HoldAgent(), Never())
    failed = roll_out(world, idle, seed=1)
    assert not failed.result.success
    assert failed.frames["next.timeout"][-1, 0] == 1
    assert failed.result.steps == world.step_limit


def test_who_gives_up_blames_what_time_ran_out_on_and_nothing_that_was_solved(world):
    contract = world.contract.with_chunk(horizon=8, num_execute=8)
    idle = SupervisedAgent(ChunkAgent(Towards(contract), world.contract), HoldAgent(), Never())
    waited, gave_up = (roll_out(world, idle, seed=1, gives_up=gives_up).frames for gives_up in (False, True))
    last = np.arange(len(gave_up["action"])) == len(gave_up["action"]) - 1
    np.testing.assert_array_equal(gave_up["pre_intervention"].reshape(-1) != 0, last)
    for frames in (waited, gave_up):  # time ran out either way, and something could have followed
        np.testing.assert_array_equal(frames["next.timeout"].reshape(-1) != 0, last)
        assert not frames["next.terminal"].any()
    assert not waited["pre_intervention"].any()
    np.testing.assert_array_equal(waited["action"], gave_up["action"])
    alone = SupervisedAgent(ChunkAgent(Towards(contract), world.contract), world.expert(), Always())
    solved = roll_out(world, alone, seed=1, gives_up=True)
    assert solved.result.success
    assert not solved.frames["pre_intervention"].any()


class Broken(Towards):
    """Chunks of no numbers."""

    def chunks(self, window, noise, plan=None):
        return np.full_like(super().chunks(window, noise, plan), np.nan)


@pytest.mark.parametrize("gives_up", [False, True])
def test_where_nothing_was_done_there_is_nothing_to_judge(world, gives_up):
    broken = ChunkAgent(Broken(world.contract.with_chunk(horizon=8, num_execute=8)), world.contract)
    with pytest.raises(RobotError, match="Nothing was done in the episode of seed 1"):
        roll_out(world, SupervisedAgent(broken, HoldAgent(), Never()), seed=1, gives_up=gives_up)


class Rests(Runtime):
    """Chunks of zeros."""

    def __init__(self, contract):
        self.contract, self.noise_shape = contract, (contract.chunk.horizon, contract.action.size)

    def chunks(self, window, noise, plan=None):
        return np.zeros((len(noise), *self.noise_shape), np.float32)


@pytest.mark.parametrize(
    ("kwargs", "steps", "for_good"),
    [
        ({"falls_at": 6}, 6, 1),
        ({"stops_at": 6}, 6, 0),
        ({"falls_at": 6, "stops_at": 6}, 6, 1),
        ({}, 30, 0),
        ({"falls_at": 30}, 30, 1),
    ],
)
def test_who_is_stopped_early_could_have_gone_on_and_who_falls_could_not(monkeypatch, kwargs, steps, for_good):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "sim"))
    config = {**load_option("task", "gym"), "env_id": "Mass-v0", "module": "gym_worlds", "expert": "gym_worlds.expert"}
    world = make_world({**config, "kwargs": kwargs})
    policy = ChunkAgent(Rests(world.contract.with_chunk(horizon=8, num_execute=8)), world.contract)
    frames = roll_out(world, SupervisedAgent(policy, world.expert(), Never()), seed=1).frames
    assert len(frames["action"]) == steps
    assert frames["next.terminal"].reshape(-1).tolist() == [0] * (steps - 1) + [for_good]
    assert frames["next.timeout"].reshape(-1).tolist() == [0] * (steps - 1) + [1 - for_good]
    assert frames["pre_intervention"][-1, 0] == for_good  # falling is blamed, being stopped is not
    assert decisions_of(frames, "action", 8, 0.9, TaskReward())[-1].mask == 1 - for_good
