"""The order of training samples: a new permutation each epoch, from a seed, resumable from two numbers."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


class Sampler(Protocol):
    """What decides which samples form the next batch. Others than the shuffled one are in ``datasets/samplers/``.

    Batches have a constant size; equal arguments give equal batches on every machine; after ``load_state_dict`` of
    another sampler's state, made with the same arguments, the continuation is the other's.
    """

    batch_size: int

    def next(self) -> np.ndarray:
        """The next ``batch_size`` indices, int64."""

    def state_dict(self) -> dict[str, Any]:
        """Where the sampler is, in plain JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


class ShuffledSampler:
    """Batches of constant size from shuffled epochs; a batch may reach from one epoch into the next.

    Args:
        size: number of samples.
        batch_size: indices per batch.
        seed: of all permutations.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        if size < 1 or batch_size < 1:
            raise ValueError(f"A sampler needs samples and a batch size; got {size} and {batch_size}.")
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self._epoch, self._position = 0, 0
        self._order = self._permutation(0)

    def next(self) -> np.ndarray:
        """The next ``batch_size`` indices, int64."""
        parts, wanted = [], self.batch_size
        while wanted:
            if self._position == self.size:
                self._epoch, self._position = self._epoch + 1, 0
                self._order = self._permutation(self._epoch)
            part = self._order[self._position : self._position + wanted]
            self._position += len(part)
            wanted -= len(part)
            parts.append(part)
        return np.concatenate(parts)

    def state_dict(self) -> dict[str, Any]:
        """Where in which epoch the sampler is."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self._order = self._permutation(self._epoch)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(self.size)
