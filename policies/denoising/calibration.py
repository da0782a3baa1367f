"""Which blocks to run at which denoising steps, from how much their outputs change: BAC, Ji et al., arXiv 2506.13456.

1. What every block gives at every evaluation is recorded while the policy samples for a few observations.
2. Adaptive caching scheduler: of all ways to run a block M times in K evaluations, the one whose reused outputs are most
   similar to those that would have been computed. With S[i, k] the cosine of the outputs at i and k, and updates
   0 = c_0 < c_1 < ... < c_{M-1}, c_M = K,

       maximise  sum_m sum_{c_m < k < c_{m+1}} S[c_m, k],

   exactly, by dynamic programming in O(M K^2). The similarity is that of each pair: with neighbours alone the optimum would be
   the M - 1 steps of least similarity, and what a long reuse costs would not be seen.
3. Bubbling union: a feed-forward block that is run on a stream whose blocks before it are reused takes in their error. The n
   blocks that change most are run whenever a feed-forward block behind them is.

Shapes: K evaluations, B observations, F numbers that a block gives for one observation.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.networks.blocks import BlockName, Compute, Run


class BlockRecorder:
    """Keeps what every block gives, on the CPU.

    Attributes:
        outputs: name -> one tensor (B, ...) for each evaluation.
    """

    def __init__(self) -> None:
        self.outputs: dict[str, list[Tensor]] = {}

    def run(self, name: str, compute: Compute) -> Tensor:
        """For ``Denoiser.denoise``."""
        output = compute()
        self.outputs.setdefault(name, []).append(output.detach().float().cpu())
        return output

    def at(self, evaluation: int) -> Run:
        """The same at every evaluation."""
        return self.run


class Changes:
    """How the outputs of blocks change over the evaluations, averaged over observations that are added one batch at a time."""

    def __init__(self) -> None:
        self._cosine: dict[str, np.ndarray] = {}
        self._distance: dict[str, np.ndarray] = {}
        self.observations = 0

    def add(self, outputs: Mapping[str, Sequence[Tensor]]) -> None:
        """Add what a ``BlockRecorder`` kept."""
        count = 0
        for name, steps in outputs.items():
            recorded_BKF = torch.stack(list(steps), dim=1).flatten(2).double()
            unit_BKF = recorded_BKF / recorded_BKF.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            cosine_KK = (unit_BKF @ unit_BKF.mT).sum(0).numpy()
            distance_KK = torch.cdist(recorded_BKF, recorded_BKF, p=1).sum(0).numpy() / recorded_BKF.shape[-1]
            self._cosine[name] = self._cosine.get(name, 0.0) + cosine_KK
            self._distance[name] = self._distance.get(name, 0.0) + distance_KK
            count = len(recorded_BKF)
        self.observations += count

    def similarity(self, name: str) -> np.ndarray:
        """Mean cosine of a block's outputs at each pair of evaluations (K, K)."""
        return self._cosine[name] / self.observations

    def volatility(self, name: str) -> float:
        """Mean absolute difference of a block's outputs over all pairs of evaluations."""
        return float(self._distance[name].mean() / self.observations)


def best_updates(similarity_KK: np.ndarray, count: int) -> tuple[int, ...]:
    """The ``count`` evaluations at which to run a block, the first among them; see the module's second step.

    Raises:
        ConfigError: ``count`` is not between 1 and K.
    """
    K = len(similarity_KK)
    if not 1 <= count <= K:
        raise ConfigError(f"A block is run 1 to {K} times in {K} evaluations; got {count}.")
    # gain[i, j]: an update at i serves the evaluations up to, but not including, j.
    gain_KJ = np.full((K, K + 1), -np.inf)
    for start in range(K):
        gain_KJ[start, start + 1 :] = np.concatenate([[0.0], np.cumsum(similarity_KK[start, start + 1 :])])
    value_J = gain_KJ[0]
    came_from = []
    for _ in range(count - 1):
        candidates_KJ = np.where(np.arange(K)[:, None] > 0, value_J[:K, None] + gain_KJ, -np.inf)
        came_from.append(candidates_KJ.argmax(axis=0))
        value_J = candidates_KJ.max(axis=0)
    updates, end = [], K
    for origins in reversed(came_from):
        end = int(origins[end])
        updates.append(end)
    return (0, *reversed(updates))


def bubble(
    updates: Mapping[str, tuple[int, ...]], blocks: Sequence[BlockName], volatility: Mapping[str, float], count: int
) -> dict[str, tuple[int, ...]]:
    """The ``count`` most volatile blocks are also run whenever a feed-forward block at or behind them is; see the third step.

    Args:
        updates: of every block.
        blocks: in the order of execution.
        volatility: of every block.
        count: n; 0 leaves the updates as they are.
    """
    names = [block.name for block in blocks]
    volatile = sorted(names, key=lambda name: (-volatility[name], names.index(name)))[:count]
    joined = dict(updates)
    for name in volatile:
        behind = [block.name for block in blocks[names.index(name) :] if block.feed_forward]
        joined[name] = tuple(sorted({*updates[name], *(step for other in behind for step in updates[other])}))
    return joined


def make_updates(
    changes: Changes, blocks: Sequence[BlockName], count: int, bubbling: int = 3, final: bool = True
) -> dict[str, tuple[int, ...]]:
    """Updates of every block.

    Args:
        changes: of every block.
        blocks: in the order of execution.
        count: M, runs of a block that is not bubbled.
        bubbling: n.
        final: run every block at the last evaluation, whose error no later one corrects; where M is more than one.
    """
    updates = {}
    for block in blocks:
        similarity_KK = changes.similarity(block.name)
        if final and count > 1:  # the best of those that contain the last, which serves itself alone
            last = len(similarity_KK) - 1
            updates[block.name] = (*best_updates(similarity_KK[:last, :last], count - 1), last)
        else:
            updates[block.name] = best_updates(similarity_KK, count)
    return bubble(updates, blocks, {block.name: changes.volatility(block.name) for block in blocks}, bubbling)
