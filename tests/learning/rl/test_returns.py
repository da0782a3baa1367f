"""What is learned again, by hand: steps before takeovers count less, whoever took them; without beta all count the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError
from praxon.learning.rl.decisions import TakeoverReward, TaskReward
from praxon.learning.rl.returns import ReturnWeights, returns
from praxon.learning.weighting import Sources


class Recordings:
    """Episodes one after another, as a dataset has them."""

    def __init__(self, *episodes):
        self.episode_lengths = np.array([len(each["action"]) for each in episodes])
        self.columns = {name: np.concatenate([each[name] for each in episodes]) for name in episodes[0]}

    def episode_slice(self, episode):
        end = int(self.episode_lengths[: episode + 1].sum())
        return slice(end - int(self.episode_lengths[episode]), end)


def episode(driven, solved=False):
    driven, length = np.array(driven), len(driven)
    last = np.arange(length) == length - 1
    flags = {
        "is_intervention": driven,
        "pre_intervention": ~(driven != 0) & (np.append(driven[1:], 0) != 0),
        "policy_decision": np.ones(length),
        "next.success": last & solved,
        "next.terminal": last & solved,
        "next.timeout": last & (not solved),
    }
    return {
        "action": np.zeros((length, 1)),
        **{name: values.astype(np.int64)[:, None] for name, values in flags.items()},
    }


def demonstration(length):
    return {"action": np.zeros((length, 1))}


def weights(weighting, *datasets, chosen=None):
    weighting.begin(SimpleNamespace(device="cpu"), Sources(("given", "watched"), datasets, chosen))
    index = torch.arange(int(sum(each.episode_lengths.sum() for each in datasets)))
    return weighting({"index": index}, torch.zeros(len(index))).numpy()


def test_returns_are_what_follows_discounted():
    np.testing.assert_allclose(returns(np.array([0.0, -1.0, 0.0, -1.0]), 0.5), [-0.625, -1.25, -0.5, -1.0])


def test_what_led_to_a_takeover_counts_less_also_where_the_expert_did_it():
    # The expert drives steps 2 and 3, gives back at 4, and has to take over again at 5.
    found = weights(ReturnWeights(TakeoverReward(), 0.5, 2.0), Recordings(episode([0, 0, 1, 1, 0, 1, 1])))
    by_hand = np.exp(2 * np.array([-0.5 - 0.5**4, -1 - 0.5**3, -0.25, -0.5, -1.0, 0.0, 0.0]))
    np.testing.assert_allclose(found, by_hand / by_hand.mean(), rtol=1e-5)


def test_demonstrations_and_what_the_policy_did_unaided_count_in_full_and_across_datasets_alike():
    demonstrated, watched = Recordings(demonstration(3)), Recordings(episode([0, 0]), episode([0, 1]))
    found = weights(ReturnWeights(TakeoverReward(), 0.9, 1.0), demonstrated, watched)
    by_hand = np.array([1, 1, 1, 1, 1, np.exp(-1), 1])
    np.testing.assert_allclose(found, by_hand / by_hand.mean(), rtol=1e-5)
    chosen = np.array([0, 5])
    weighting = ReturnWeights(TakeoverReward(), 0.9, 1.0)
    weights(weighting, demonstrated, watched, chosen=chosen)
    drawn = torch.tensor([0, 0, 0, 5])  # whatever is drawn more often than the frames say
    assert weighting({"index": drawn}, torch.zeros(4)).mean() == pytest.approx(1)


def test_who_stays_where_the_task_is_solved_counts_as_who_gets_there():
    lingering = episode([0, 0, 0, 0], solved=True)
    lingering["next.success"] = np.array([[0], [1], [1], [1]])
    found = weights(ReturnWeights(TaskReward(), 1.0, 3.0), Recordings(lingering))
    np.testing.assert_allclose(found, 1.0, rtol=1e-6)


def test_by_the_tasks_reward_episodes_that_solved_it_count_more_from_their_first_step():
    found = weights(ReturnWeights(TaskReward(), 1.0, 3.0), Recordings(episode([0, 1, 0], solved=True), episode([1, 0])))
    np.testing.assert_allclose(found[:3] / found[3:].mean(), [np.exp(3)] * 3, rtol=1e-5)


def test_without_beta_everything_counts_the_same():
    found = weights(ReturnWeights(TakeoverReward(), 0.95, 0.0), Recordings(episode([0, 1, 0, 1])))
    assert (found == 1).all()


@pytest.mark.parametrize(("discount", "beta"), [(0.0, 1.0), (1.1, 1.0), (0.9, -1.0), (0.9, float("nan"))])
def test_numbers_out_of_range_are_refused(discount, beta):
    with pytest.raises(ConfigError, match="needed"):
        ReturnWeights(TakeoverReward(), discount, beta)
