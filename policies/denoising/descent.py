"""Descent: a sample is where the slope of an energy ends, however many steps that takes.

    x <- x + step_size * force + temperature * rms(force) * noise,    force = -dE/dx

The noise makes it a Langevin chain whose temperature falls with the slope: large where the energy is undecided, none at
rest, where a chain of fixed temperature would keep trembling. A sample stops when the root mean square of its force is below
``tolerance``; others go on, and it stays where it is, so that no sample depends on its batch mates.

Shapes: B batch, T action tokens, A action size.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.denoising.samplers import Evaluate, Sampler


class Descent(NamedTuple):
    """Where each sample came to rest, and after how many steps."""

    sample_BTA: Tensor
    steps_B: Tensor


class DescentSampler(Sampler):
    """Goes down an energy until each sample rests.

    Args:
        step_size: fraction of the force that one step follows.
        max_steps: after which a sample is taken as it is.
        tolerance: root mean square force per component below which a sample is at rest; 0 uses all steps.
        temperature: noise of a step over the root mean square of the force.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self, *, step_size: float = 0.5, max_steps: int = 12, tolerance: float = 0.03, temperature: float = 0.0
    ) -> None:
        if not 0 < step_size <= 1:
            raise ConfigError(f"step_size is a fraction of the force in (0, 1]; got {step_size}.")
        if max_steps < 1:
            raise ConfigError(f"Descent takes at least one step; got {max_steps}.")
        if tolerance < 0 or temperature < 0:
            raise ConfigError(f"tolerance and temperature are 0 or more; got {tolerance} and {temperature}.")
        self.step_size, self.max_steps, self.tolerance, self.temperature = step_size, max_steps, tolerance, temperature
        self.fixed = tolerance == 0
        self.times = [0.0]  # an energy knows no time
        self.num_noises = 1 + max_steps if temperature > 0 else 1

    def run(self, evaluate: Evaluate, noise: Tensor) -> Tensor:
        """See ``Sampler.run``; the prediction is the force."""
        return self.descend(evaluate, noise).sample_BTA

    def descend(self, evaluate: Evaluate, noise: Tensor) -> Descent:
        """As ``run``, and how many steps each sample took."""
        x_BTA, *kicks = noise.unbind(1) if self.num_noises > 1 else (noise,)
        moving_B = torch.ones(len(x_BTA), dtype=torch.bool, device=x_BTA.device)
        steps_B = torch.zeros(len(x_BTA), dtype=torch.int64, device=x_BTA.device)
        for index in range(self.max_steps):
            force_BTA = evaluate(x_BTA, 0)
            size_B = force_BTA.square().mean((1, 2)).sqrt()
            moving_B = moving_B & (size_B >= self.tolerance)
            if not self.fixed and not moving_B.any():
                break
            step_BTA = self.step_size * force_BTA
            if kicks:
                step_BTA = step_BTA + self.temperature * size_B[:, None, None] * kicks[index]
            x_BTA = torch.where(moving_B[:, None, None], x_BTA + step_BTA, x_BTA)
            steps_B = steps_B + moving_B
        return Descent(x_BTA, steps_B)

    def settings(self) -> dict[str, Any]:
        """Step size, most steps, tolerance and temperature."""
        return {
            "step_size": self.step_size,
            "max_steps": self.max_steps,
            "tolerance": self.tolerance,
            "temperature": self.temperature,
        }
