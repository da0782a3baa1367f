"""The controller of PTR: sharpens the scorer while it identifies well, makes it conservative while it does not.

arXiv 2603.16542, appendix; its constants.
"""

from collections.abc import Mapping
from typing import Any

TEMPERATURES, BETAS, RATIOS = (0.03, 0.20), (0.5, 3.0), (0.0, 0.5)
"""Ranges in which the controller keeps what it sets."""
WEAK, STRONG, MARGIN = 0.05, 0.35, 0.10
EASY, HARD = 0.10, 0.50
"""Accuracies between which the share of hard negatives rises."""


class Controller:
    """Temperature of the logits, beta of the weights and share of hard negatives, by how well consequences are identified.

    Args:
        temperature: of the logits, to begin with.
        beta: of the weights, to begin with.
        decay: of the moving averages.
        every: steps between changes.
        adaptive: whether anything is changed.
    """

    def __init__(
        self, temperature: float = 0.12, beta: float = 1.5, decay: float = 0.98, every: int = 10, adaptive: bool = True
    ) -> None:
        self.temperature, self.beta, self.hard_ratio = temperature, beta, 0.0
        self.accuracy: float | None = None
        self.margin = 0.0
        self._decay, self._every, self._adaptive, self._steps = decay, every, adaptive, 0

    def observe(self, accuracy: float, margin: float) -> None:
        """Take in a step's share of consequences identified and mean margin of logits; every so often, act."""
        if self.accuracy is None:
            self.accuracy, self.margin = accuracy, margin
        self.accuracy += (1 - self._decay) * (accuracy - self.accuracy)
        self.margin += (1 - self._decay) * (margin - self.margin)
        self._steps += 1
        if self._adaptive and self._steps % self._every == 0:
            self._act(self.accuracy, self.margin)

    def _act(self, accuracy: float, margin: float) -> None:
        factor = 1.0
        if accuracy < WEAK:
            factor = 1.01
        elif accuracy > STRONG and margin > MARGIN:
            factor = 0.995
        self.temperature = _within(self.temperature * factor, TEMPERATURES)
        self.beta = _within(self.beta * factor, BETAS)
        self.hard_ratio = _within(RATIOS[1] * (accuracy - EASY) / (HARD - EASY), RATIOS)

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes."""
        return {
            "temperature": self.temperature,
            "beta": self.beta,
            "hard_ratio": self.hard_ratio,
            "accuracy": self.accuracy,
            "margin": self.margin,
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        self.temperature, self.beta, self.hard_ratio = state["temperature"], state["beta"], state["hard_ratio"]
        self.accuracy, self.margin, self._steps = state["accuracy"], state["margin"], state["steps"]


def _within(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])
