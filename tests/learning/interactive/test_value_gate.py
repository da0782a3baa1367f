"""The value gate: whoever does as well as the expert is left alone, whoever walks away is not, and its errors come at their rates."""

import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.learning.interactive.foresight import Foresight
from praxon.learning.interactive.gates import Moment, Never, Outlook
from praxon.learning.interactive.supervised import SupervisedAgent, roll_out
from praxon.learning.interactive.value_gate import Value
from praxon.policies.agent import ChunkAgent
from praxon.policies.runtime import Runtime
from praxon.sim.factory import make_world

FAULTLESS = {"miss": 0.0, "false_alarm": 0.0, "reaction": 0}
CHUNK = 8


def watch(gate, outlooks, seed=0, chunk=CHUNK):
    """Who drives at each step, where (policy, expert) is the outlook at that step, and the steps that were looked at."""
    gate.reset(seed)
    driving, driven, looked, begun = False, [], [], 0
    for step, (policy, expert) in enumerate(outlooks):

        def outlook(steps, step=step, policy=policy, expert=expert):
            looked.append(step)
            return Outlook(policy, expert)

        begun = step if driving or step - begun == chunk else begun
        moment = Moment(step, np.zeros(2), np.zeros(2), 0.0, driving, begins=step == begun, outlook=outlook)
        driving = gate.expert_drives(moment)
        driven.append(driving)
    return driven, looked


# -- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.7, 0.0, -3.0, -1e6])
def test_equal_outlooks_never_trigger_not_below_zero_either(value):
    driven, looked = watch(Value(1e-9, **FAULTLESS), [(value, value)] * 200)
    assert not any(driven)
    assert len(looked) == 25


def test_it_takes_over_at_a_look_holds_and_gives_back_when_the_new_plan_is_nearly_as_good():
    gate = Value(0.1, every=8, steps=12, back=0.5, **FAULTLESS)
    # From step 3 on the policy is worse; from step 24 on by less than the gap, from 30 on by less than half of it.
    outlooks = [(0.5, 0.5)] * 3 + [(0.5, 0.7)] * 21 + [(0.6, 0.68)] * 6 + [(0.64, 0.68)] * 20
    driven, looked = watch(gate, outlooks)
    assert driven.index(True) == 8  # the look at step 0 found nothing yet
    assert looked[:5] == [0, 8, 20, 28, 36]
    assert sum(driven) == 36 - 8
    assert not any(driven[36:])
    assert looked[5] == 44


def test_who_reacts_late_takes_over_from_the_plan_that_was_judged():
    gate = Value(0.1, every=8, steps=4, back=0.5, reaction=3, miss=0.0, false_alarm=0.0)
    driven, looked = watch(gate, [(0.5, 0.7)] * 9 + [(0.7, 0.7)] * 20)
    assert driven.index(True) == 3  # the look was at step 0
    assert sum(driven) == 12  # looked at again after 4 and 12 steps of driving
    assert looked[:3] == [0, 7, 15]


def test_a_chunk_that_begins_is_looked_at_and_a_long_one_again_on_the_way():
    assert watch(Value(0.1, every=8), [(0.5, 0.5)] * 12, chunk=3)[1] == [0, 3, 6, 9]
    assert watch(Value(0.1, every=5), [(0.5, 0.5)] * 24, chunk=12)[1] == [0, 5, 10, 12, 17, 22]


def test_who_always_misses_never_takes_over():
    assert not any(watch(Value(0.1, miss=1.0, false_alarm=0.0), [(0.0, 1.0)] * 400)[0])


def test_misses_and_false_alarms_come_at_about_their_rates_and_by_the_seed():
    late = [watch(Value(0.1, miss=0.3, false_alarm=0.0, reaction=0), [(0.0, 1.0)], seed)[0][0] for seed in range(2000)]
    assert np.mean(late) == pytest.approx(0.7, abs=0.04)
    gate = Value(0.1, every=8, steps=4, miss=0.0, false_alarm=0.1, reaction=0)
    driven, looked = watch(gate, [(0.5, 0.5)] * 40_000)
    starts = np.flatnonzero(np.diff(np.concatenate([[0], np.array(driven, int)])) == 1)
    while_the_policy_drove = len(looked) - len(starts)  # the others gave control back, at once since there was no gap
    assert len(starts) / while_the_policy_drove == pytest.approx(0.1, abs=0.02)
    assert sum(driven) == pytest.approx(4 * len(starts), abs=4)
    assert watch(gate, [(0.5, 0.5)] * 800, seed=0)[0] == driven[:800]
    assert watch(gate, [(0.5, 0.5)] * 800, seed=1)[0] != driven[:800]


@pytest.mark.parametrize(
    "wrong", [{"gap": 0.0}, {"back": 0.0}, {"back": 1.5}, {"horizon": 0}, {"every": 0}, {"steps": 0}, {"miss": 1.1}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        Value(**{"gap": 0.1, **wrong})


def test_without_foresight_it_says_what_is_missing():
    with pytest.raises(ConfigError, match="Foresight of the world"):
        Value(0.1).expert_drives(Moment(0, np.zeros(2), np.zeros(2), 0.0, False, begins=True))


# -- in a world -------------------------------------------------------------------------------------------------------


class Chunks(Runtime):
    """Draws chunks by a function of the joints that were seen last, (A,) -> (horizon, A); counts them."""

    def __init__(self, contract, rows):
        self.contract, self.rows, self.count = contract, rows, 0
        self.noise_shape = (contract.chunk.horizon, contract.action.size)

    def chunks(self, window, noise, plan=None):
        self.count += 1
        return self.rows(window["observation.state"][0, -1])[None].astype(np.float32)


def supervised(world, rows, gate):
    contract = world.contract.with_chunk(horizon=16, num_execute=8)
    policy = ChunkAgent(Chunks(contract, rows), world.contract)
    return SupervisedAgent(policy, world.expert(), gate, Foresight(world))


def leaves(joints):
    """Up and away from whatever is on the table."""
    away = np.array([0.0, -0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    return joints + np.linspace(0.05, 1.0, 16)[:, None] * away[: len(joints)]


@pytest.fixture(scope="module")
def world():
    world = make_world("lift")
    world.step_limit = 60
    return world


class Notes(Never):
    """Looks at every new chunk and leaves it at that."""

    def __init__(self):
        self.found = []

    def expert_drives(self, moment):
        if moment.begins:
            self.found.append(moment.outlook(16))
        return False


def test_looking_changes_nothing_about_the_episode(world):
    notes = Notes()
    looked = roll_out(world, supervised(world, leaves, notes), seed=3)
    blind = roll_out(world, supervised(world, leaves, Never()), seed=3)
    assert len(notes.found) == 8  # steps 0, 8, ..., 56
    assert looked.frames.keys() == blind.frames.keys()
    for name, values in blind.frames.items():
        np.testing.assert_array_equal(looked.frames[name], values)
    assert looked.result.metrics == blind.result.metrics


def test_it_is_tried_out_beforehand_whether_one_can_look(world, monkeypatch):
    blind = roll_out(world, supervised(world, leaves, Never()), seed=3)
    looked = []
    monkeypatch.setattr(
        world, "foresee", lambda agent, steps: looked.append(steps) or type(world).foresee(world, agent, steps)
    )
    Value(0.1).require(world.contract, [], world)
    assert looked == [1, 1]
    after = roll_out(world, supervised(world, leaves, Never()), seed=3)
    for name, values in blind.frames.items():
        np.testing.assert_array_equal(after.frames[name], values)


def test_a_plan_that_walks_away_is_taken_over_and_the_experts_help_solves_it(world):
    def value():
        return Value(0.02, horizon=16, every=8, steps=8, **FAULTLESS)

    world.step_limit = 120
    helped = roll_out(world, supervised(world, leaves, value()), seed=3)
    again = roll_out(world, supervised(world, leaves, value()), seed=3)
    world.step_limit = 60
    assert helped.counts.interventions >= 1
    assert helped.result.success
    np.testing.assert_array_equal(helped.frames["action"], again.frames["action"])


def test_the_experts_own_plan_is_worth_as_much_as_the_expert(world):
    found = []

    class Records:
        """An expert that writes down what it does."""

        def __init__(self):
            self.expert, self.rows = world.expert(), []

        def act(self, observation):
            self.rows.append(self.expert.act(observation)[0])
            return self.rows[-1][None]

    class Looks:
        def reset(self, seed):
            self.expert, self.foresight, self.step = world.expert(), Foresight(world), 0

        def act(self, observation):
            if self.step % 8 == 0:
                records = Records()
                world.foresee(records, 16)
                found.append(self.foresight(np.array(records.rows), 16))
            self.step += 1
            return self.expert.act(observation)

    world.run(Looks(), 5)
    assert len(found) > 3
    assert all(outlook.policy == outlook.expert for outlook in found)  # to the bit
    assert len({outlook.expert for outlook in found}) > 3
    assert not any(watch(Value(1e-9, **FAULTLESS), [(each.policy, each.expert) for each in found], chunk=1)[0])
