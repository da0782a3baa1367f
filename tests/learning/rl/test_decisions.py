"""From steps to decisions, by hand: late labels, chunks cut short, time that ran out, demonstrations."""

import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.learning.rl.decisions import TakeoverReward, TaskReward, decisions_of

GAMMA = 0.9


def episode(driven, begins, ended=False, solved=None):
    """An episode whose executed action at step t is t, and whose plan from t on is t, t + 100, t + 200, ..."""
    length = len(driven)
    driven = np.array(driven)
    takeovers = [i for i in range(length - 1) if driven[i + 1] and not driven[i]]
    flags = {
        "is_intervention": driven,
        "pre_intervention": np.isin(np.arange(length), takeovers),
        "policy_decision": np.array(begins),
        "next.success": np.arange(length) == (length if solved is None else solved),
        "next.terminal": (np.arange(length) == length - 1) & ended,
        "next.timeout": (np.arange(length) == length - 1) & (not ended),
    }
    plan = np.arange(length)[:, None] + 100.0 * np.arange(4)[None]
    return {
        "action": np.arange(length, dtype=float)[:, None],
        "policy_plan": plan,
        **{name: values.astype(np.int64)[:, None] for name, values in flags.items()},
    }


def found(columns, reward=None, execute=4):
    return decisions_of(columns, "action", execute, GAMMA, reward or TakeoverReward())


def test_a_takeover_cuts_the_chunk_and_is_counted_at_its_step():
    # The policy decides at 0 and 4; the expert takes over at step 7 and gives back at 9, where the policy decides anew.
    driven = [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    begins = [1, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    whole, cut, expert, after = found(episode(driven, begins))
    assert (whole.start, whole.end, whole.reward, whole.mask) == (0, 4, 0.0, 1.0)
    assert whole.discount == pytest.approx(GAMMA**4)
    assert whole.chunk[:, 0].tolist() == [0, 1, 2, 3]
    # Three of four rows were carried out: R = -gamma^2, what follows counts gamma^3, and the last row is the planned one.
    assert (cut.start, cut.end) == (4, 7)
    assert cut.reward == pytest.approx(-(GAMMA**2))
    assert cut.discount == pytest.approx(GAMMA**3)
    assert cut.chunk[:, 0].tolist() == [4, 5, 6, 304]
    assert (expert.start, expert.end, expert.expert, expert.reward) == (7, 9, True, 0.0)
    assert expert.chunk[:, 0].tolist() == [7, 8, 8, 8]
    assert expert.discount == pytest.approx(GAMMA**2)
    assert (after.start, after.end) == (9, 13)


def test_what_the_expert_does_long_is_chunks_one_after_another():
    first, second, third = found(episode([1] * 10, [1] * 10))
    assert [(d.start, d.end) for d in (first, second, third)] == [(0, 4), (4, 8), (8, 9)]
    assert third.chunk[:, 0].tolist() == [8, 8, 8, 8]  # followed to the last observation: one step of the two
    assert all(d.mask == 1 for d in (first, second, third))


def test_an_episode_that_ended_is_not_looked_beyond_and_one_that_ran_out_is():
    begins = [1, 0, 0, 0, 1, 0]
    ended = found(episode([0] * 6, begins, ended=True, solved=5), TaskReward())
    assert [(d.start, d.mask) for d in ended] == [(0, 1.0), (4, 0.0)]
    assert ended[1].reward == pytest.approx(GAMMA)  # solved by the second of its steps
    ran_out = found(episode([0] * 6, begins))
    assert [(d.start, d.end, d.mask) for d in ran_out] == [(0, 4, 1.0), (4, 5, 1.0)]
    assert ran_out[1].discount == pytest.approx(GAMMA)
    # A decision at the very last observation leads nowhere that was seen.
    assert len(found(episode([0] * 5, [1, 0, 0, 0, 1]))) == 1


def test_a_takeover_that_nobody_lived_to_see_is_counted_all_the_same():
    """The actor was killed after the step before it was written."""
    columns = episode([0] * 6, [1, 0, 0, 0, 1, 0])
    columns["pre_intervention"][-1] = 1
    last = found(columns)[-1]
    assert (last.start, last.end, last.mask) == (4, 5, 1.0)
    assert last.reward == pytest.approx(-GAMMA)


def test_an_operator_who_ends_a_failure_is_a_takeover_at_its_end():
    columns = episode([0] * 4, [1, 0, 0, 0], ended=True)
    columns["pre_intervention"][-1] = 1
    (only,) = found(columns)
    assert only.mask == 0
    assert only.reward == pytest.approx(-(GAMMA**3))


def test_a_failure_that_ends_an_episode_costs_whoever_drove_and_success_and_time_do_not():
    by_the_expert = episode([0, 1, 1], [1, 1, 1], ended=True)
    assert TakeoverReward().steps(by_the_expert).tolist() == [-1, 0, -1]
    assert TakeoverReward().steps(episode([0, 1, 1], [1, 1, 1], ended=True, solved=2)).tolist() == [-1, 0, 0]
    assert TakeoverReward().steps(episode([0, 1, 1], [1, 1, 1])).tolist() == [-1, 0, 0]
    # The policy's last step is blamed already, and once.
    blamed = episode([1, 0, 0], [1, 1, 1], ended=True)
    blamed["pre_intervention"][-1] = 1
    assert TakeoverReward().steps(blamed).tolist() == [0, 0, -1]


def test_a_late_operator_blames_several_steps_and_never_those_of_the_expert():
    columns = episode([1, 0, 0, 1], [1, 1, 0, 1])
    assert TakeoverReward(1).steps(columns).tolist() == [0, 0, -1, 0]
    assert TakeoverReward(3).steps(columns).tolist() == [0, -0.5, -0.5, 0]
    with pytest.raises(ConfigError, match="at least 1"):
        TakeoverReward(0)


def test_a_task_that_stays_solved_is_paid_once():
    columns = episode([0] * 6, [1] * 6, ended=True, solved=3)
    columns["next.success"][3:] = 1
    assert TaskReward().steps(columns).tolist() == [0, 0, 0, 1, 0, 0]


def test_demonstrations_are_the_experts_and_end_well():
    decisions = found({"action": np.arange(6, dtype=float)[:, None]}, TaskReward())
    assert [(d.start, d.expert, d.mask) for d in decisions] == [(0, True, 1.0), (4, True, 0.0)]
    assert decisions[1].reward == pytest.approx(GAMMA)
    failed = found({"action": np.zeros((6, 1)), "next.success": np.zeros((6, 1))}, TaskReward())
    assert [d.reward for d in failed] == [0.0, 0.0]
    assert failed[-1].mask == 1
