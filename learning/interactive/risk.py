"""Risk: how likely the task is to be solved from here, as two critics learned it from what was tried.

    y = r + gamma (1 - d) min(Q1', Q2')(s', a'),    r = 1 where the task is solved,    Q in [0, 1]

Hoque et al., ThriftyDAgger, arXiv 2109.08273: a' is the mean action of the ensemble, batches of 50, of which a tenth are successes.

The end of an episode is an end (d = 1) for whatever reason, as in the published code: what is asked is whether the task will be
solved in the time there is, and with a discount of almost 1 nothing else would make a policy that hangs worth less than one that
does not. (Critics of a return look beyond a time-out; ``learning/rl``.)

Three things are not as published. Samples are weighed back to how frequent they are, so that Q is a probability and no tenth is
promised. The loss is the cross-entropy, whose minimum is the same. Targets follow at 0.02 in every step, not at 0.005 in every
second: a success is carried back by a step of the episode about every 50 updates, not every 400.

Shapes: N transitions, B batch, S size of a state, A size of an action; two critics.
"""

import copy
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.learning.interactive.records import SUCCESS
from praxon.policies.networks.value import CriticEnsemble

BATCH_SIZE, LEARNING_RATE, TAU = 50, 1e-3, 0.02
SUCCESSES = 5
"""Of a batch."""


@dataclass(frozen=True)
class Transitions:
    """What was tried.

    Args:
        state: (N, S) normalised.
        action: (N, A) that was carried out, normalised.
        next_state: (N, S); of the last step of an episode, itself.
        next_action: (N, A) of the policy there.
        success: (N,) bool, whether the step solved the task.
        done: (N,) bool, whether nothing of the episode followed.
    """

    state: Tensor
    action: Tensor
    next_state: Tensor
    next_action: Tensor
    success: Tensor
    done: Tensor

    @classmethod
    def joined(cls, parts: list["Transitions"]) -> "Transitions":
        """One after another."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def outcomes(dataset: LeRobotDataset) -> tuple[np.ndarray, np.ndarray]:
    """Which steps solved the task, and after which nothing followed, (num_frames,) bool each.

    Where a dataset does not say what was solved, its episodes are demonstrations and end in success.
    """
    ends = np.zeros(dataset.num_frames, bool)
    ends[dataset.episode_ends - 1] = True
    if SUCCESS not in dataset.columns:
        return ends, ends
    success = np.asarray(dataset.columns[SUCCESS]).reshape(-1) != 0
    return success, ends | success


class Risk:
    """Two critics of the discounted probability of success, and their targets.

    Args:
        state_size: S.
        action_size: A.
        gamma: discount.
        hidden: width of the two hidden layers.
        seed: of weights and batches.
    """

    def __init__(
        self, state_size: int, action_size: int, gamma: float = 0.9999, hidden: int = 128, seed: int = 0
    ) -> None:
        self.gamma, self._rng = gamma, np.random.default_rng([seed, 6])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critics = CriticEnsemble(state_size, action_size, (hidden, hidden), count=2)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self._optimizer = torch.optim.Adam(self.critics.parameters(), LEARNING_RATE)

    def fit(self, tried: Transitions, steps: int) -> float:
        """Learn from transitions.

        Returns:
            The loss of the last batch.
        """
        success = tried.success.numpy()
        loss = 0.0
        for _ in range(steps):
            places, weights = self._draw(np.flatnonzero(success), np.flatnonzero(~success))
            loss = self._step(tried, torch.from_numpy(places), torch.from_numpy(weights))
        return loss

    @torch.no_grad()
    def chance(self, state_BS: Tensor, action_BA: Tensor) -> Tensor:
        """The smaller of both probabilities (B,)."""
        value_B: Tensor = self.critics(state_BS, action_BA).sigmoid().amin(dim=0)
        return value_B

    def _draw(self, solved: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of a batch, and weights that undo that successes are drawn more often than there are."""
        total, places, weights = len(solved) + len(others), [], []
        parts = [(solved, SUCCESSES), (others, BATCH_SIZE - SUCCESSES)] if len(solved) and len(others) else []
        for kind, count in parts or [(np.concatenate([solved, others]), BATCH_SIZE)]:
            places.append(self._rng.choice(kind, count))
            weights.append(np.full(count, (len(kind) / total) / (count / BATCH_SIZE), np.float32))
        return np.concatenate(places), np.concatenate(weights)

    def _step(self, tried: Transitions, places: Tensor, weight_B: Tensor) -> float:
        success_B, done_B = tried.success[places].float(), tried.done[places].float()
        with torch.no_grad():
            next_EB = self.targets(tried.next_state[places], tried.next_action[places]).sigmoid()
            y_B = success_B + self.gamma * (1 - done_B) * next_EB.amin(dim=0)
        logits_EB = self.critics(tried.state[places], tried.action[places])
        loss = F.binary_cross_entropy_with_logits(logits_EB, y_B.expand_as(logits_EB), weight_B)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.targets.parameters()), list(self.critics.parameters()), TAU)
        return float(loss.detach())
