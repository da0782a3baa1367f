"""PlanAgent: carries out rows of actions that were planned before, whatever comes."""

import numpy as np

from praxon.contract import Observation


class PlanAgent:
    """One row a tick, and the last one from there on.

    Args:
        rows: (T, A) actions, at least one.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = np.asarray(rows, np.float64)
        self._next = 0

    def reset(self, seed: int) -> None:
        """Back to the first row; nothing is random."""
        self._next = 0

    def act(self, observation: Observation) -> np.ndarray:
        """(1, A): the row of this tick."""
        row = self._rows[min(self._next, len(self._rows) - 1)]
        self._next += 1
        return row[None]
