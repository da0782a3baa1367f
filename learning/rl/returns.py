"""What to learn again of all that was done, by whoever did it: weights by what came of it, told by the method's own reward.

With r the rewards of a method and G_t = sum_i discount^i r_{t+i}, frame t weighs exp(beta G_t): reward-weighted regression
(Peters and Schaal, ICML 2007). Under the reward of takeovers, what led to none counts in full, also what the policy did by itself;
what somebody had to step in after counts less, also where it was the expert's.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from praxon.errors import ConfigError
from praxon.learning.interactive.records import SUCCESS
from praxon.learning.rl.decisions import Reward, with_records
from praxon.learning.table_weights import TableWeights
from praxon.learning.weighting import Sources, normalised


class ReturnWeights(TableWeights):
    """exp(beta G) of every frame, with a mean of one over those that are trained on.

    Args:
        reward: what steps are worth.
        discount: of a step, 1 to count all that follows alike.
        beta: how much returns matter; at 0 all frames count the same.

    Raises:
        ConfigError: numbers out of range.
    """

    def __init__(self, reward: Reward, discount: float, beta: float) -> None:
        super().__init__()
        if not 0 < discount <= 1:
            raise ConfigError(f"Returns are discounted by {discount}; more than 0 and at most 1 is needed.")
        if not (0 <= beta < np.inf):
            raise ConfigError(f"refit_beta is {beta}; a number of at least 0 is needed.")
        self.reward, self.discount, self.beta = reward, discount, beta

    def weigh(self, sources: Sources) -> np.ndarray:
        """See ``TableWeights.weigh``."""
        found = []
        for dataset in sources.datasets:
            for episode in range(len(dataset.episode_lengths)):
                part = dataset.episode_slice(episode)
                columns = {name: values[part] for name, values in dataset.columns.items()}
                records = with_records(columns, part.stop - part.start)
                came = returns(self.reward.steps(records), self.discount)
                solved = np.asarray(records[SUCCESS]).reshape(-1) != 0
                if solved.any():  # who stays where the task is solved does as well as who gets there
                    came[solved.argmax() :] = came[solved.argmax()]
                found.append(np.exp(self.beta * came))
        return np.concatenate(found)

    def __call__(self, seen: Mapping[str, Tensor], losses: Tensor) -> Tensor:
        """The table's weights, with a mean of one in the batch: rounds draw demonstrations more often than frames alone say."""
        return normalised(super().__call__(seen, losses))


def returns(rewards: np.ndarray, discount: float) -> np.ndarray:
    """G (T,) of an episode's rewards (T,)."""
    found, total = np.empty(len(rewards)), 0.0
    for step in range(len(rewards) - 1, -1, -1):
        total = rewards[step] + discount * total
        found[step] = total
    return found
