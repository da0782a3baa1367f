"""Sample weighting: how much each sample of a batch counts, decided from the batch and its per-sample losses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxon.datasets.measures.measured import Recorded
from praxon.policies.base import Policy


class Weighting(ABC):
    """Called once per step, in every process with the batch of all. Parent of all weightings.

    A weighting draws no number from torch's global generators: with weights of one, training is plain training, to the bit.
    """

    def future(self, policy: Policy) -> int | tuple[int, ...] | None:
        """Steps to the later observation window that ``read`` needs, as ``Needs.future``; none where ``None``."""
        return None

    def remarks(self, steps: int) -> tuple[str, ...]:
        """Sentences for whoever trains for so many steps: settings that have no effect."""
        return ()

    def begin(self, policy: Policy, sources: "Sources") -> None:  # noqa: B027  (most need nothing of the kind)
        """Called once before training, with the policy on its device and the datasets it is trained on."""

    def read(self, part: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What is needed of each sample, by name (B, ...), taken in the process that holds the sample."""
        return part

    @abstractmethod
    def __call__(self, seen: Mapping[str, Tensor], losses: Tensor) -> Tensor:
        """What ``read`` gave for the whole batch, and its per-sample losses (B,) -> weights (B,).

        Weights are not negative, no gradient flows through them, and they average to about one, so that the learning rate keeps its
        meaning.
        """

    def judge(self, seen: Mapping[str, Tensor], draws: int = 1) -> tuple[Tensor, Tensor]:
        """Weights and scores (B,) of samples that ``read`` read, learning nothing; scores are NaN where there are none.

        Args:
            draws: random pools over which scores are averaged, where there are such.
        """
        weight_B = self(seen, torch.zeros(len(seen["index"])))
        return weight_B, torch.full_like(weight_B, torch.nan)

    def metrics(self) -> dict[str, float]:
        """Figures of the last step, for the log."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What must survive a restart, in plain JSON values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027  (most need nothing of the kind)
        """Continue from a ``state_dict``."""

    def tensors(self) -> dict[str, Tensor]:
        """What must survive a restart besides, by name."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:  # noqa: B027  (most need nothing of the kind)
        """Continue from ``tensors``."""


class Uniform(Weighting):
    """Every sample counts the same."""

    def __call__(self, seen: Mapping[str, Tensor], losses: Tensor) -> Tensor:
        return torch.ones_like(losses)


class Sources:
    """The datasets that training data come from, one after another.

    Args:
        names: of each.
        datasets: all their frames, also those that are not trained on.
        chosen: the frames that are, by their index in all datasets; all where ``None``.
    """

    def __init__(
        self,
        names: Sequence[str] = ("data",),
        datasets: Sequence[Recorded] = (),
        chosen: np.ndarray | None = None,
    ) -> None:
        self.names, self.datasets, self.chosen = tuple(names), tuple(datasets), chosen
        frames = [int(np.sum(each.episode_lengths)) for each in datasets] or [0]
        self._ends = torch.tensor(frames).cumsum(0)[:-1]

    def means(self, index_B: Tensor, weight_B: Tensor) -> dict[str, float]:
        """Mean weight of the samples of each source that has some, by the frames' index in all datasets."""
        source_B = torch.bucketize(index_B.cpu(), self._ends, right=True)
        weight_B = weight_B.detach().cpu()
        return {self.names[number]: float(weight_B[source_B == number].mean()) for number in source_B.unique().tolist()}


def normalised(weight_B: Tensor) -> Tensor:
    """Weights that average to one: with them the mean over the batch is sum(w l) / sum(w)."""
    return weight_B * (len(weight_B) / weight_B.sum())


def effective_share(weight_B: Tensor) -> float:
    """Share of the samples that as many equally weighted ones would be worth: (sum w)^2 / (B sum w^2) (Kish 1965)."""
    return float(weight_B.sum().square() / (len(weight_B) * weight_B.square().sum()))
