"""Novelty, risk and their budget: doubt away from the data, probabilities of a chain, quantiles by hand, a stream of moments."""

import numpy as np
import pytest
import torch

from praxon.contract import Feature, PolicyContract
from praxon.errors import ConfigError, ContractError
from praxon.learning.interactive.gates import Moment
from praxon.learning.interactive.novelty import Novelty
from praxon.learning.interactive.risk import Risk, Transitions, outcomes
from praxon.learning.interactive.states import States
from praxon.learning.interactive.thrifty import Judges, Thresholds, Thrifty

torch.set_num_threads(1)
JOINTS = Feature("joints", "joint_position", (2,), ("a", "b"), unit="rad")
CUBE = Feature("cube", "pose", (7,))
PICTURE = Feature("camera", "image", (8, 8, 3), dtype="uint8")
ACTION = Feature("action", "joint_position", (2,), ("a", "b"), unit="rad")


def contract(*observations):
    return PolicyContract("panda", "reach", observations, ACTION)


# -- states -----------------------------------------------------------------------------------------------------------


def test_states_are_the_numeric_observations_in_order_and_of_unit_scale():
    rng = np.random.default_rng(0)
    columns = {
        "joints": rng.normal([1.0, -2.0], [0.5, 3.0], (500, 2)).astype(np.float32),
        "cube": np.tile(np.array([0.1, 0.2, 0.3, 1, 0, 0, 0], np.float32), (500, 1)),
        "action": rng.normal(5.0, 2.0, (500, 2)).astype(np.float32),
    }
    states = States(contract(JOINTS, PICTURE, CUBE))
    states.fit(columns)
    assert (states.names, states.size, states.action_size) == (("joints", "cube"), 9, 2)
    found = states.states(columns)
    torch.testing.assert_close(found[:, :2].mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[:, :2].std(0, correction=0), torch.ones(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[:, 2:], torch.zeros(500, 7), atol=1e-4, rtol=0)  # what never changes is no news
    torch.testing.assert_close(states.actions(columns["action"]).std(0, correction=0), torch.ones(2), atol=1e-3, rtol=0)


def test_pictures_alone_are_refused():
    with pytest.raises(ContractError, match=r"observes camera \(image\) alone"):
        Thrifty().require(contract(PICTURE), [], None)
    with pytest.raises(ConfigError, match="none were given"):
        Thrifty().require(contract(JOINTS, PICTURE), [], None)


# -- novelty ----------------------------------------------------------------------------------------------------------


def test_heads_agree_where_there_were_data_and_disagree_away_from_them():
    rng = np.random.default_rng(0)
    state = torch.from_numpy(rng.uniform(-1, 1, (400, 2)).astype(np.float32))
    action = (state[:, :1] - state[:, 1:]).sin()
    novelty = Novelty(2, 1, hidden=32, seed=0)
    novelty.fit(state, action, 600)
    near = novelty.variance(state)
    far = novelty.variance(4 * state / state.norm(dim=-1, keepdim=True))
    assert float(near.mean()) < 1e-3 * float(action.var())
    assert float(near.quantile(0.95)) < 0.1 * float(far.mean())
    assert float((novelty.mean(state) - action).square().mean()) < 0.01 * float(action.var())


def test_variance_is_that_of_the_heads():
    novelty = Novelty(1, 2, heads=2, hidden=4)
    with torch.no_grad():
        for layer in novelty.layers:
            layer.weight.zero_()
        # 0 and 2 in one component, 1 and 1 in the other: variances 1 and 0.
        novelty.layers[-1].bias.copy_(torch.tensor([[[0.0, 1.0]], [[2.0, 1.0]]]))
    assert novelty.variance(torch.zeros(3, 1)).tolist() == [0.5] * 3
    assert novelty.mean(torch.zeros(1, 1)).tolist() == [[1.0, 1.0]]


# -- risk -------------------------------------------------------------------------------------------------------------


def chain(count, seed=0):
    """From A half of all steps solve the task, the others lead to B; from B a fifth do, the others end without."""
    rng = np.random.default_rng(seed)
    at_a, luck = rng.random(count) < 0.5, rng.random(count)
    success = np.where(at_a, luck < 0.5, luck < 0.2)
    state = np.where(at_a, -1.0, 1.0)
    done = success | ~at_a
    action = np.zeros((count, 1), np.float32)
    column = [torch.from_numpy(each.astype(np.float32)[:, None]) for each in (state, np.ones(count))]
    return Transitions(
        column[0],
        torch.from_numpy(action),
        column[1],
        torch.from_numpy(action),
        torch.tensor(success),
        torch.tensor(done),
    )


def test_critics_learn_a_chains_discounted_probability_of_success():
    risk = Risk(1, 1, gamma=0.9, hidden=32)
    risk.fit(chain(4000), 1500)
    found = risk.chance(torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
    # Q(B) = 0.2; Q(A) = 0.5 + 0.5 * 0.9 * 0.2. A third are successes, not the tenth of a batch.
    assert found.tolist() == pytest.approx([0.59, 0.2], abs=0.06)


def test_a_demonstration_ends_in_success_and_what_was_watched_as_it_says():
    class Recorded:
        num_frames, episode_ends, columns = 5, np.array([2, 5]), {}

    recorded = Recorded()
    success, done = outcomes(recorded)
    assert success.tolist() == done.tolist() == [False, True, False, False, True]
    recorded.columns = {"next.success": np.array([[0], [0], [0], [1], [1]])}
    success, done = outcomes(recorded)
    assert success.tolist() == [False, False, False, True, True]
    assert done.tolist() == [False, True, False, True, True]  # time ran out in the first


# -- the gate ---------------------------------------------------------------------------------------------------------


def judged_by_features(thresholds, with_chance=True, **settings):
    """A gate for which features say how new and how promising a moment is, and how far the two actions lie apart."""
    gate = Thrifty(**settings)
    gate.begin(
        Judges(
            lambda features: float(features["novelty"]),
            (lambda features, action: float(features["chance"])) if with_chance else None,
            lambda one, other: float(np.square(one - other).sum()),
        ),
        thresholds,
    )
    return gate


def moment(novelty=0.0, chance=1.0, apart=0.0, driving=False):
    features = {"novelty": np.array(novelty), "chance": np.array(chance)}
    return Moment(0, np.zeros(1), np.array([apart]), 0.0, driving, features=features)


def test_thresholds_are_quantiles():
    start = Thresholds(9.0, 0.3)
    novelties = list(np.arange(101.0))
    assert start.after(novelties, [], 0.1) == Thresholds(90.0, 0.3)
    chances = list(np.arange(101.0) / 100)
    found = start.after(novelties, chances, 0.1)
    assert (found.novelty, found.agreement) == (90.0, 0.3)
    assert (found.risk, found.safe) == pytest.approx((0.1, 0.5))


def test_novelty_is_asked_first_risk_second_and_control_comes_back_when_both_agree():
    gate = judged_by_features(Thresholds(1.0, 0.25, risk=0.2, safe=0.5))
    assert not gate.expert_drives(moment(novelty=1.0, chance=0.2))  # at the thresholds, not beyond
    assert gate.expert_drives(moment(novelty=1.1, chance=0.1))
    assert gate.expert_drives(moment(novelty=0.9, chance=0.1))
    assert gate.notes()["asked"] == ["novelty", "risk"]
    # Between the two thresholds of each, whoever has control keeps it.
    assert gate.expert_drives(moment(chance=0.4, driving=True))
    assert not gate.expert_drives(moment(chance=0.4))
    assert gate.expert_drives(moment(chance=0.9, apart=0.5, driving=True))
    assert not gate.expert_drives(moment(novelty=5.0, chance=0.9, apart=0.4, driving=True))
    # Only what the policy began counts towards the thresholds.
    assert gate.notes()["novelties"] == [1.0, 1.1, 0.9, 0.0]


def test_without_thresholds_of_risk_it_is_not_asked_for():
    gate = judged_by_features(Thresholds(1.0, 0.25))
    assert not gate.expert_drives(moment(chance=0.0))
    assert not gate.expert_drives(moment(chance=0.0, driving=True))


def stream(gate, episodes, steps=50, seed=0):
    """Independent moments; the expert agrees at once, so that every takeover lasts a step. Who drove, and the notes."""
    rng, driven, notes = np.random.default_rng(seed), [], []
    for episode in range(episodes):
        gate.reset(episode)
        driving = False
        for novelty, chance in rng.exponential(size=(steps, 2)):
            driving = gate.expert_drives(moment(novelty, 10 + chance, driving=driving))
            driven.append(driving)
        notes.append(gate.notes())
        gate.remember(notes[-1])
    return np.array(driven), notes


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_a_stationary_stream_triggers_as_often_as_the_budget_says(rate):
    gate = judged_by_features(Thresholds(0.0, 1.0), with_chance=False, target_rate=rate)
    driven, notes = stream(gate, 200)
    began = sum(len(each["novelties"]) for each in notes)
    assert sum(len(each["asked"]) for each in notes) / began == pytest.approx(rate, rel=0.15)
    assert driven[:50].all()  # before there is a quantile, the threshold is what it was, and everything is new
    assert gate.thresholds.novelty == pytest.approx(-np.log(rate), rel=0.1)  # quantile of the exponential distribution


def test_novelty_and_risk_have_a_budget_each():
    gate = judged_by_features(Thresholds(5.0, 1.0), target_rate=0.1)
    _, notes = stream(gate, 200)
    report = gate.report()
    began = sum(len(each["novelties"]) for each in notes)
    assert report["asked_by_novelty"] / began == pytest.approx(0.1, rel=0.15)
    assert report["asked_by_risk"] / began == pytest.approx(0.9 * 0.1, rel=0.2)


def test_notes_are_all_that_a_gate_needs_to_go_on():
    import json

    start = Thresholds(2.0, 1.0)
    whole = judged_by_features(start, target_rate=0.1)
    _, notes = stream(whole, 10)
    again = judged_by_features(start, target_rate=0.1)
    for each in json.loads(json.dumps(notes)):
        again.remember(each)
    assert again.thresholds == whole.thresholds != start
    assert again.report() == whole.report()
    few = judged_by_features(start)
    few.remember({"novelties": [0.0] * 25, "chances": [0.0] * 25, "asked": []})
    assert few.thresholds == start


@pytest.mark.parametrize("settings", [{"target_rate": 0.0}, {"heads": 1}, {"gamma": 1.5}, {"risk_steps": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        Thrifty(**settings)
