"""Several datasets seen as one recording, for measures and weights that compare their episodes with each other."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from praxon.contract import PolicyContract
from praxon.datasets.measures.measured import Recorded
from praxon.errors import DatasetError


class Concatenated:
    """The frames of all, one dataset after another; columns that not every one has are left out.

    Args:
        datasets: at least one, of one contract.

    Raises:
        DatasetError: there is none.
    """

    def __init__(self, datasets: Sequence[Recorded]) -> None:
        if not datasets:
            raise DatasetError("There is no dataset to weigh.")
        self._datasets = tuple(datasets)
        self.episode_lengths = np.concatenate([np.asarray(each.episode_lengths) for each in datasets])
        self._ends = np.cumsum(self.episode_lengths)

    @property
    def contract(self) -> PolicyContract:
        """Of the first."""
        return self._datasets[0].contract

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Feature -> (N, *shape)."""
        if len(self._datasets) == 1:
            return self._datasets[0].columns
        names = [name for name in self._datasets[0].columns if all(name in each.columns for each in self._datasets)]
        return {name: np.concatenate([each.columns[name] for each in self._datasets]) for name in names}

    def episode_slice(self, episode: int) -> slice:
        """Frames of an episode."""
        end = int(self._ends[episode])
        return slice(end - int(self.episode_lengths[episode]), end)
