"""Samplers for networks that predict the mean velocity of a whole step: one step is exact, so few suffice."""

from typing import Any

from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.denoising.samplers import Evaluate, Sampler


class SpanSampler(Sampler):
    """Equal steps x <- x + d u(x, t, d) from noise at t = 0 to data at t = 1, where u is told d.

    Args:
        steps: number of steps; d = 1 / steps.

    Raises:
        ConfigError: fewer than one step.
    """

    def __init__(self, steps: int = 1) -> None:
        if steps < 1:
            raise ConfigError(f"Denoising takes at least one step; got {steps}.")
        self.steps = steps
        self.times = [index / steps for index in range(steps)]
        self.spans = [1.0 / steps] * steps

    def run(self, evaluate: Evaluate, noise: Tensor) -> Tensor:
        """See ``Sampler.run``; the prediction is the mean velocity over the step."""
        x = noise
        for index in range(self.steps):
            x = x + evaluate(x, index) / self.steps
        return x

    def path(self, index: int) -> tuple[float, float]:
        """t and 1 - t."""
        return self.times[index], 1.0 - self.times[index]

    def clean_at(self, x: Tensor, prediction: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """Where the mean velocity leads by t = 1; exact in the last step, whose mean it is."""
        return x + sigma * prediction

    def prediction(self, x: Tensor, clean: Tensor, index: int) -> Tensor:
        """The mean velocity that leads there."""
        return (clean - x) / (1.0 - self.times[index])

    def settings(self) -> dict[str, Any]:
        """The number of steps."""
        return {"steps": self.steps}
