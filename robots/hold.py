"""HoldAgent: does nothing, the baseline below every other agent."""

import numpy as np

from praxon.contract import Observation


class HoldAgent:
    """Commands the joint positions it first saw."""

    def __init__(self, state: str = "observation.state") -> None:
        self._state = state
        self._positions: np.ndarray | None = None

    def reset(self, seed: int) -> None:
        """Forget where to hold."""
        self._positions = None

    def act(self, observation: Observation) -> np.ndarray:
        """(1, num_joints): where the robot stood at the first tick."""
        if self._positions is None:
            self._positions = observation.features[self._state].astype(np.float64)
        return self._positions[None]
