"""What there is before a round, for gates that learn: what the expert showed, what was watched, and the policy that comes next."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from praxon.contract import PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.windows import Windows
from praxon.learning.interactive.records import driven_by_expert
from praxon.policies.runtime import Runtime


@dataclass(frozen=True)
class Experience:
    """Everything up to a round.

    Args:
        demonstrations: what the policy was trained on from the beginning; the expert did all of it.
        rollouts: of the rounds before, in order.
        policy: who will be watched.
        seed: of whatever is drawn at random.
    """

    demonstrations: Sequence[LeRobotDataset]
    rollouts: Sequence[LeRobotDataset]
    policy: Runtime
    seed: int

    @property
    def contract(self) -> PolicyContract:
        """Of the policy."""
        return self.policy.contract

    def shown(self) -> list[tuple[LeRobotDataset, np.ndarray]]:
        """Which frames (N,) of each dataset the expert drove, as numbers."""
        demonstrated = [(dataset, np.arange(dataset.num_frames)) for dataset in self.demonstrations]
        return demonstrated + [
            (dataset, np.flatnonzero(driven_by_expert(dataset.columns))) for dataset in self.rollouts
        ]

    def policy_actions(self, dataset: LeRobotDataset, frames: np.ndarray) -> np.ndarray:
        """What the policy would do at these frames (N,), as the first rows of chunks (N, A) in physical units."""
        windows = Windows(dataset, self.contract.chunk, contract=self.contract)
        generator = np.random.default_rng(self.seed)
        found = []
        for frame in frames:
            batch = windows.batch(np.array([frame]))
            window = {feature.name: batch[feature.name] for feature in self.contract.observations}
            found.append(self.policy.chunks(window, self.policy.draw_noise(1, generator))[0, 0])
        return np.array(found, np.float32).reshape(-1, self.contract.action.size)
