"""Sample weighting: how much each sample of a batch counts, decided from the batch and its per-sample losses."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Weighting(Protocol):
    """Called once per step. Weights should average to about one, so that the learning rate keeps its meaning."""

    def __call__(self, batch: Mapping[str, Tensor], losses: Tensor) -> Tensor:
        """Batch and per-sample losses (B,) -> weights (B,), not negative, through which no gradient flows."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive a restart, in plain JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""


class Uniform:
    """Every sample counts the same."""

    def __call__(self, batch: Mapping[str, Tensor], losses: Tensor) -> Tensor:
        return torch.ones_like(losses)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass
