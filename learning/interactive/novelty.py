"""Novelty: how little is known of a state, as the variance among networks that learned the same actions from different samples.

    u(s) = mean over components of Var_e pi_e(s)

Menda, Driggs-Campbell, Kochenderfer, EnsembleDAgger, arXiv 1807.08364; as in ThriftyDAgger, arXiv 2109.08273: five deterministic
networks with tanh, each on a bootstrap resample, batches of 100, Adam at 1e-3.

Shapes: E networks, N states, S size of a state, A size of an action.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from praxon.policies.networks.value import EnsembleLinear

BATCH_SIZE, LEARNING_RATE = 100, 1e-3


class Novelty(nn.Module):
    """E networks from normalised states to normalised actions.

    Args:
        state_size: S.
        action_size: A.
        heads: E.
        hidden: width of the two hidden layers.
        seed: of weights, resamples and batches.
    """

    def __init__(self, state_size: int, action_size: int, heads: int = 5, hidden: int = 128, seed: int = 0) -> None:
        super().__init__()
        self.heads, self._rng = heads, np.random.default_rng([seed, 5])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = (state_size, hidden, hidden, action_size)
            self.layers = nn.ModuleList(EnsembleLinear(heads, *pair) for pair in pairwise(sizes))

    def forward(self, state_NS: Tensor) -> Tensor:
        """Actions (E, N, A) of states that all see."""
        return self._actions(state_NS.expand(self.heads, -1, -1))

    def fit(self, state_NS: Tensor, action_NA: Tensor, steps: int) -> float:
        """Learn these actions by least squares, each network from as many samples drawn with replacement.

        Returns:
            The loss of the last batch.
        """
        count = len(state_NS)
        resampled = self._rng.integers(0, count, (self.heads, count))
        optimizer = torch.optim.Adam(self.parameters(), LEARNING_RATE)
        rows, loss = np.arange(self.heads)[:, None], torch.zeros(())
        for _ in range(steps):
            chosen = torch.from_numpy(resampled[rows, self._rng.integers(0, count, (self.heads, BATCH_SIZE))])
            loss = (self._actions(state_NS[chosen]) - action_NA[chosen]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def mean(self, state_NS: Tensor) -> Tensor:
        """The action they would agree on (N, A)."""
        action_NA: Tensor = self(state_NS).mean(dim=0)
        return action_NA

    @torch.no_grad()
    def variance(self, state_NS: Tensor) -> Tensor:
        """u (N,)."""
        variance_N: Tensor = self(state_NS).var(dim=0, correction=0).mean(dim=-1)
        return variance_N

    def _actions(self, state_ENS: Tensor) -> Tensor:
        """(E, N, A) of states that each sees for itself."""
        *hidden, last = self.layers
        for layer in hidden:
            state_ENS = layer(state_ENS).tanh()
        action_ENA: Tensor = last(state_ENS)
        return action_ENA
