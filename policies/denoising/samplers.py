"""Samplers: how noise becomes a sample with a network that was trained one way or another.

A sampler knows beforehand at which flow times it will ask the network, so that the engine can compute everything that
depends on time alone before the loop. It knows no network: it is handed a function from (x, index of the time) to the
network's answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.denoising.solvers import integrate, solver_by_name

Evaluate = Callable[[Tensor, int], Tensor]

_DIGITS = 9  # a time reached from either side may differ in its last bits


class Sampler(ABC):
    """Parent of every sampler.

    Attributes:
        times: flow times at which the network is asked, 0 noise to 1 data.
        spans: length of the step that is asked for at each of them, for networks that are told it; else None.
        num_noises: noise tensors of the chunk's shape that one sample takes: 1, more where steps add noise of their own.
    """

    times: list[float]
    spans: list[float] | None = None
    num_noises: int = 1

    @abstractmethod
    def run(self, evaluate: Evaluate, noise: Tensor) -> Tensor:
        """Unit normal noise -> sample (B, T, A).

        Args:
            evaluate: (x (B, T, A), index into ``times``) -> the network's prediction (B, T, A).
            noise: (B, T, A); (B, num_noises, T, A) where ``num_noises`` is more than one.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the user may choose about it, as kept in a bundle's ``engine.yaml``."""


class FlowSampler(Sampler):
    """Integrates the flow ODE dx/dt = v(x, t) from noise at t = 0 to data at t = 1 in equal steps.

    Args:
        solver: name of the solver.
        steps: solver steps.

    Raises:
        ConfigError: unknown solver, or fewer than one step.
    """

    def __init__(self, solver: str = "euler", steps: int = 10) -> None:
        if steps < 1:
            raise ConfigError(f"Denoising takes at least one step; got {steps}.")
        self.solver_name, self.steps = solver, steps
        self._solver = solver_by_name(solver)
        nodes = self._solver.nodes
        self.times = sorted({round((index + node) / steps, _DIGITS) for index in range(steps) for node in nodes})
        self._row = {time: index for index, time in enumerate(self.times)}

    def run(self, evaluate: Evaluate, noise: Tensor) -> Tensor:
        """See ``Sampler.run``; the prediction is the velocity."""
        return integrate(lambda x, t: evaluate(x, self._row[round(t, _DIGITS)]), noise, self._solver, self.steps)

    def settings(self) -> dict[str, Any]:
        """Solver and steps."""
        return {"solver": self.solver_name, "steps": self.steps}
