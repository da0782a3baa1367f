"""Interventions as data: what was seen, done, and would have been done, and who was in control, for every step of an episode.

One record serves every method: DAgger takes the expert's actions everywhere, HG-DAgger those of takeovers, RLIF the step before
each takeover. What happens after a step decides whether it was one of those, and so it is written afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from praxon.contract import Feature, PolicyContract

POLICY_ACTION, EXPERT_ACTION = "policy_action", "expert_action"
POLICY_PLAN, DECISION = "policy_plan", "policy_decision"
IS_INTERVENTION, PRE_INTERVENTION = "is_intervention", "pre_intervention"
REWARD, SUCCESS, TERMINAL, TIMEOUT = "next.reward", "next.success", "next.terminal", "next.timeout"


def record_features(contract: PolicyContract, execute: int) -> list[Feature]:
    """The columns beyond the contract.

    ``action`` is what the one in control asked for, ``policy_action`` and ``expert_action`` what either would have done.
    ``policy_plan`` holds the ``execute`` actions that the policy had planned from the step on, one after another, and
    ``policy_decision`` is 1 where that plan was new.
    ``next.terminal`` says that nothing can follow the step, ``next.timeout`` that nobody waited for it: learners look beyond the
    second and not the first.
    """
    size = contract.action.size
    actions = [Feature(name, "vector", (size,), contract.action.names) for name in (POLICY_ACTION, EXPERT_ACTION)]
    flags = (IS_INTERVENTION, PRE_INTERVENTION, DECISION, SUCCESS, TERMINAL, TIMEOUT)
    return [
        *actions,
        Feature(POLICY_PLAN, "vector", (execute * size,)),
        Feature(REWARD, "vector", (1,)),
        *(Feature(name, "vector", (1,), dtype="int64") for name in flags),
    ]


def driven_by_expert(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which of the frames that were watched the expert drove, (N,) bool."""
    return np.asarray(columns[IS_INTERVENTION]).reshape(-1) != 0


@dataclass(frozen=True)
class Step:
    """One control step.

    Args:
        features: what was seen.
        stamp_ns: when.
        action: (A,) what the one in control asked for.
        policy_action, expert_action: (A,).
        plan: (h, A) what the policy had planned from this step on; its first row is ``policy_action``.
        decided: whether that plan was made at this step.
        intervened: whether the expert was in control.
        reward: after it.
        success: whether the task was solved after it.
    """

    features: Mapping[str, np.ndarray]
    stamp_ns: int
    action: np.ndarray
    policy_action: np.ndarray
    expert_action: np.ndarray
    plan: np.ndarray
    decided: bool
    intervened: bool
    reward: float
    success: bool


def before_takeovers(intervened: np.ndarray) -> np.ndarray:
    """Which steps (T,) were the policy's and were followed by one of the expert's.

    A takeover at the first step follows nothing, and blames nothing.
    """
    following = np.append(intervened[1:], False)
    return ~intervened & following


def columns(contract: PolicyContract, steps: list[Step], ended: bool, failed: bool = False) -> dict[str, np.ndarray]:
    """An episode's steps as the columns of a dataset, (T, *shape).

    Args:
        contract: of the world.
        steps: at least one.
        ended: whether the last step ended the episode for good: it was solved, or the world said so. Else time ran out.
        failed: whether somebody said that it had failed: the last step, if it was the policy's, is then blamed as one before a
            takeover is.
    """
    intervened = np.array([step.intervened for step in steps])
    last = np.arange(len(steps)) == len(steps) - 1
    flags = {
        IS_INTERVENTION: intervened,
        PRE_INTERVENTION: before_takeovers(intervened) | (last & failed & ~intervened),
        DECISION: np.array([step.decided for step in steps]),
        SUCCESS: np.array([step.success for step in steps]),
        TERMINAL: last & ended,
        TIMEOUT: last & (not ended),
    }
    actions = {
        contract.action.name: [step.action for step in steps],
        POLICY_ACTION: [step.policy_action for step in steps],
        EXPERT_ACTION: [step.expert_action for step in steps],
        POLICY_PLAN: [step.plan.reshape(-1) for step in steps],
    }
    return {
        **{name: np.stack([step.features[name] for step in steps]) for name in steps[0].features},
        **{name: np.stack(values).astype(np.float32) for name, values in actions.items()},
        REWARD: np.array([[step.reward] for step in steps], np.float32),
        **{name: values.astype(np.int64)[:, None] for name, values in flags.items()},
    }
