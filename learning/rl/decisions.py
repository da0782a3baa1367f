"""From what was recorded step by step to decisions: what was seen, the chunk that was chosen, what came of it.

A decision of the policy is a chunk of h rows, of which k were carried out: all, or fewer where somebody took over or the episode
ended.
With r_i the rewards of those k steps,

    R = sum_i gamma^i r_i,    discount gamma^k,    next state: where the next decision was taken

The critic sees the chunk as it was meant: rows that a takeover prevented are the planned ones. What the expert did becomes
chunks too, cut where it gave control back; nobody planned the rows behind, and the last one is held (Q-chunking, arXiv 2507.07969,
with the variable length that interventions need).

Where time ran out something could have followed: the last decision ends at the last observation there is, and is looked
beyond. Where the episode ended for good nothing is.

Shapes: T steps of an episode, h rows that are executed, A components of the action.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from praxon.errors import ConfigError
from praxon.learning.interactive.records import (
    DECISION,
    IS_INTERVENTION,
    POLICY_PLAN,
    PRE_INTERVENTION,
    SUCCESS,
    TERMINAL,
)

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Decision:
    """One decision.

    Args:
        start: step at which it was taken.
        end: step at which the next was, or the last observation.
        chunk: (h, A) physical.
        reward: R.
        discount: gamma to the number of steps.
        mask: 0 where nothing can follow.
        expert: whether it was the expert's.
    """

    start: int
    end: int
    chunk: np.ndarray
    reward: float
    discount: float
    mask: float
    expert: bool


class Reward(ABC):
    """What a step is worth."""

    @abstractmethod
    def steps(self, columns: Columns) -> np.ndarray:
        """Of every step of an episode (T,)."""


class TakeoverReward(Reward):
    """-1 for the step before each takeover, 0 for all others: RLIF (arXiv 2311.12996).

    A failure that ends an episode costs as much, whoever drove: nothing follows it, which would else be the best there is.

    Args:
        blame_steps: the policy's last steps before a takeover that share it, for operators who react late; 1 in the paper.
    """

    def __init__(self, blame_steps: int = 1) -> None:
        if blame_steps < 1:
            raise ConfigError(f"A takeover is blamed on {blame_steps} steps; at least 1 is needed.")
        self.blame_steps = blame_steps

    def steps(self, columns: Columns) -> np.ndarray:
        """See ``Reward.steps``."""
        blamed, driven = _flags(columns, PRE_INTERVENTION), _flags(columns, IS_INTERVENTION)
        rewards = np.zeros(len(blamed))
        for step in map(int, np.flatnonzero(blamed)):
            first = step
            while first > max(0, step - self.blame_steps + 1) and not driven[first - 1]:
                first -= 1
            rewards[first : step + 1] -= 1.0 / (step + 1 - first)
        if _flags(columns, TERMINAL)[-1] and not _flags(columns, SUCCESS)[-1] and not blamed[-1]:
            rewards[-1] -= 1.0
        return rewards


class TaskReward(Reward):
    """1 for the step after which the task is solved first, 0 for all others; HIL-SERL (arXiv 2410.21845)."""

    def steps(self, columns: Columns) -> np.ndarray:
        """See ``Reward.steps``."""
        solved = _flags(columns, SUCCESS)
        rewards = np.zeros(len(solved))
        if solved.any():
            rewards[int(solved.argmax())] += 1.0
        return rewards


def decisions_of(columns: Columns, action: str, execute: int, gamma: float, reward: Reward) -> list[Decision]:
    """The decisions of an episode, in order.

    Args:
        columns: of its steps (T, ...). Demonstrations lack those of ``records``: they were the expert's, and ended well.
        action: name of the column of what was executed.
        execute: h.
        gamma: discount of a step.
        reward: what steps are worth.
    """
    actions = np.asarray(columns[action])
    length = len(actions)
    filled = with_records(columns, length)
    rewards, driven = reward.steps(filled), _flags(filled, IS_INTERVENTION)
    begins = _flags(filled, DECISION)
    ended, blamed = bool(_flags(filled, TERMINAL)[-1]), _flags(filled, PRE_INTERVENTION)
    found, start = [], 0
    while start < length:
        end = start + 1
        while end < min(length, start + execute) and driven[end] == driven[start] and (driven[end] or not begins[end]):
            end += 1
        last = end == length
        if last and not ended and not blamed[-1]:
            end -= 1  # nothing was seen after the last step: the decision is followed to the last observation
            if end == start:
                break
        count = end - start
        if driven[start]:
            chunk = actions[start:end][np.minimum(np.arange(execute), count - 1)]
        else:
            chunk = np.asarray(filled[POLICY_PLAN][start]).reshape(execute, -1).copy()
            chunk[:count] = actions[start:end]
        powers = gamma ** np.arange(count + 1)
        total = float((powers[:-1] * rewards[start:end]).sum())
        mask = 0.0 if last and ended else 1.0
        found.append(Decision(start, min(end, length - 1), chunk, total, float(powers[-1]), mask, bool(driven[start])))
        if last:
            break
        start = end
    return found


def with_records(columns: Columns, length: int) -> dict[str, np.ndarray]:
    """The columns of an episode's steps, with those of ``records`` as a demonstration would have them where there are none."""
    if IS_INTERVENTION in columns:
        return dict(columns)
    none, every = np.zeros(length, np.int64), np.ones(length, np.int64)
    last = np.arange(length) == length - 1
    solved = np.asarray(columns[SUCCESS]).reshape(-1) if SUCCESS in columns else last.astype(np.int64)
    return {
        **columns,
        IS_INTERVENTION: every,
        PRE_INTERVENTION: none,
        DECISION: every,
        SUCCESS: solved,
        TERMINAL: (last & (solved[-1] != 0)).astype(np.int64),
    }


def _flags(columns: Columns, name: str) -> np.ndarray:
    return np.asarray(columns[name]).reshape(-1) != 0
