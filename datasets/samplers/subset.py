"""A sampler over chosen indices: another sampler's positions, looked up in a list."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from praxon.datasets.sampler import Sampler


class SubsetSampler:
    """Turns positions in a list of indices into the indices.

    Args:
        sampler: over ``range(len(indices))``.
        indices: (n,) e.g. the frames in which a human drove.
    """

    def __init__(self, sampler: Sampler, indices: np.ndarray) -> None:
        self.batch_size = sampler.batch_size
        self._sampler = sampler
        self._indices = np.asarray(indices, np.int64)

    def next(self) -> np.ndarray:
        """The next ``batch_size`` of the indices, int64."""
        return self._indices[self._sampler.next()]

    def state_dict(self) -> dict[str, Any]:
        """The other sampler's state."""
        return self._sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._sampler.load_state_dict(dict(state))
