"""Sampling in proportion to weights, with replacement, from one table of cumulative sums."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from praxon.errors import DatasetError

RESOLUTION = 2**32
"""Weights are rounded to this many parts of the largest one, so that the table is of integers and the same everywhere."""


class WeightTable:
    """Draws entries in proportion to their weights in O(log n) each; 8 bytes per entry.

    The sums are of integers: floating-point sums differ in the last bit between machines, and the order with them.

    Args:
        weights: (n,) finite, not negative, not all zero; they need not sum to one. What is above zero
            counts for at least 2^-32 of the largest.

    Raises:
        DatasetError: weights of which none can be drawn, or that are no weights.
    """

    def __init__(self, weights: np.ndarray) -> None:
        values = np.asarray(weights, np.float64)
        if (
            values.ndim != 1
            or not len(values)
            or not np.isfinite(values).all()
            or values.min() < 0
            or values.max() == 0
        ):
            raise DatasetError(
                f"Sampling needs one finite weight >= 0 for each entry, and one > 0 among them; got {_shown(values)}."
            )
        parts = np.maximum(np.rint(values / values.max() * RESOLUTION), values > 0).astype(np.int64)
        self._sums = np.cumsum(parts)
        self.num_positive = int(np.count_nonzero(parts))
        """Entries that can be drawn."""

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Entries (size,) int64, independent of each other."""
        return np.searchsorted(self._sums, rng.integers(0, self._sums[-1], size), side="right")

    def draw_distinct(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Entries (size,) int64 of which none occurs twice: one after the other, in proportion among those that are left."""
        chosen = np.zeros(0, np.int64)
        parts, sums = np.diff(self._sums, prepend=0), self._sums
        while len(chosen) < size:
            drawn = np.searchsorted(sums, rng.integers(0, sums[-1], size), side="right")
            _, first = np.unique(drawn, return_index=True)  # a repeated draw is one that is made again
            chosen = np.concatenate([chosen, drawn[np.sort(first)]])[:size]
            parts[chosen] = 0
            sums = np.cumsum(parts)
        return chosen


class WeightedSampler:
    """Batches of constant size; every index of every batch is drawn on its own, in proportion to the weights.

    Args:
        weights: (n,) finite, not negative, not all zero.
        batch_size: indices per batch.
        seed: of all batches.
    """

    def __init__(self, weights: np.ndarray, batch_size: int, seed: int) -> None:
        require_batch_size(batch_size)
        self.size, self.batch_size, self.seed = len(weights), batch_size, seed
        self._table = WeightTable(weights)
        self._step = 0

    def next(self) -> np.ndarray:
        """The next ``batch_size`` indices, int64."""
        drawn = self._table.draw(batch_generator(self.seed, self._step), self.batch_size)
        self._step += 1
        return drawn

    def state_dict(self) -> dict[str, Any]:
        """How many batches were drawn."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._step = int(state["step"])


def batch_generator(seed: int, step: int) -> np.random.Generator:
    """Random numbers of one batch: a stream of its own, so that to resume is to know the number of the batch."""
    return np.random.Generator(np.random.PCG64([seed, step]))


def require_batch_size(batch_size: int) -> None:
    """``DatasetError`` unless a batch holds something."""
    if batch_size < 1:
        raise DatasetError(f"A sampler needs a batch size of at least 1; got {batch_size}.")


def _shown(values: np.ndarray) -> str:
    if values.ndim != 1 or not len(values):
        return f"an array of shape {values.shape}"
    return f"{len(values)} weights from {values.min():g} to {values.max():g}, {(~np.isfinite(values)).sum()} not finite"
