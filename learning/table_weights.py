"""Weights that are known before training begins, in a table of all frames."""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from praxon.learning.weighting import Sources, Weighting, effective_share
from praxon.policies.base import Policy


class TableWeights(Weighting):
    """Parent of weightings that give every frame its weight at once; the mean over those that are trained on is one."""

    def __init__(self) -> None:
        self._table = torch.ones(0)
        self._metrics: dict[str, float] = {}

    @abstractmethod
    def weigh(self, sources: Sources) -> np.ndarray:
        """Weights (N,) of the frames of all datasets, of any mean above zero.

        Raises:
            PraxonError: the datasets lack what is needed.
        """

    def begin(self, policy: Policy, sources: Sources) -> None:
        """Weigh every frame."""
        self._sources = sources
        found = self.weigh(sources)
        mean = found.mean() if sources.chosen is None else found[sources.chosen].mean()
        self._table = torch.from_numpy((found / mean).astype(np.float32)).to(policy.device)

    def read(self, part: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Frames alone."""
        return {"index": part["index"]}

    def __call__(self, seen: Mapping[str, Tensor], losses: Tensor) -> Tensor:
        """The table's weights."""
        weight_B = self._table[seen["index"]]
        self._metrics = {
            "effective_share": effective_share(weight_B),
            **{f"weight/{name}": value for name, value in self._sources.means(seen["index"], weight_B).items()},
        }
        return weight_B.to(losses.dtype)

    def metrics(self) -> dict[str, float]:
        """See ``Weighting.metrics``."""
        return self._metrics
