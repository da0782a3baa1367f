"""The denoising engine: draws samples with whatever is constant over the steps computed once, before the loop.

This is the eager reference. Every faster backend must give its numbers for the same noise.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.denoising.solvers import integrate, solver_by_name

_DIGITS = 9  # a time reached from either side may differ in its last bits


class Denoiser(Protocol):
    """A network whose velocity falls into a part of the observations, a part of the time, and the rest."""

    def condition(self, tokens_BSD: Tensor) -> Any:
        """Observation tokens -> what every step reads of them."""

    def modulation(self, time_BT: Tensor) -> Tensor:
        """Flow times (N, 1) -> their effect, one row each."""

    def denoise(self, noisy_BTA: Tensor, modulation_BTMD: Tensor, condition: Any) -> Tensor:
        """Noisy chunk (B, T, A), one row of the modulation, the condition -> velocity (B, T, A)."""


class DenoisingEngine:
    """Denoiser + solver + number of steps: noise -> sample.

    Args:
        solver: name of the solver.
        steps: solver steps from noise to data.

    Raises:
        ConfigError: unknown solver, or fewer than one step.
    """

    def __init__(self, solver: str = "euler", steps: int = 10) -> None:
        if steps < 1:
            raise ConfigError(f"Denoising takes at least one step; got {steps}.")
        self.solver_name, self.steps = solver, steps
        self._solver = solver_by_name(solver)

    def settings(self) -> dict[str, Any]:
        """Keyword arguments that would build this engine again."""
        return {"solver": self.solver_name, "steps": self.steps}

    def sample(self, network: Denoiser, tokens_BSD: Tensor, noise_BTA: Tensor) -> Tensor:
        """Observation tokens and noise -> the chunk (B, T, A) in network units that the flow carries the noise to."""
        condition = network.condition(tokens_BSD)
        times = self._times()
        grid = torch.tensor(times, dtype=torch.float32, device=noise_BTA.device)[:, None]
        modulation = network.modulation(grid)
        row = {time: index for index, time in enumerate(times)}

        def velocity(x_BTA: Tensor, t: float) -> Tensor:
            index = row[round(t, _DIGITS)]
            return network.denoise(x_BTA, modulation[index : index + 1], condition)

        return integrate(velocity, noise_BTA, self._solver, self.steps)

    def _times(self) -> list[float]:
        """Every flow time at which the solver will ask for a velocity."""
        nodes = self._solver.nodes
        return sorted({round((index + node) / self.steps, _DIGITS) for index in range(self.steps) for node in nodes})
