"""Samplers: how noise becomes a sample with a network that was trained one way or another.

A sampler knows beforehand at which flow times it will ask the network, so that the engine can compute everything that
depends on time alone before the loop. It knows no network: it is handed a function from (x, index of the time) to the
network's answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.denoising.solvers import integrate, solver_by_name

Evaluate = Callable[[Tensor, int], Tensor]


class Level(NamedTuple):
    """A place on the path from noise to data.

    Args:
        time: flow time that the network is told.
        alpha, sigma: of the network's input alpha a + sigma e there.
    """

    time: float
    alpha: float
    sigma: float


_DIGITS = 9  # a time reached from either side may differ in its last bits


class Sampler(ABC):
    """Parent of every sampler.

    Attributes:
        times: flow times at which the network is asked, 0 noise to 1 data.
        spans: length of the step that is asked for at each of them, for networks that are told it; else None.
        num_noises: noise tensors of the chunk's shape that one sample takes: 1, more where steps add noise of their own.
        fixed: whether the steps are the same whatever the values.
    """

    times: list[float]
    spans: list[float] | None = None
    num_noises: int = 1
    fixed: bool = True

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

    def path(self, index: int) -> tuple[float, float]:
        """(alpha, sigma) of the network's input alpha a + sigma e at ``times[index]``.

        Raises:
            ConfigError: this sampler follows no such path, so that it cannot be guided.
        """
        raise ConfigError(f"{type(self).__name__} follows no path between noise and data, so that it cannot be guided.")

    def clean(self, x: Tensor, prediction: Tensor, index: int) -> Tensor:
        """The clean chunk that the network expects, from its input and its prediction."""
        return self.clean_at(x, prediction, *self.path(index))

    def clean_at(self, x: Tensor, prediction: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """``clean`` anywhere on the path: at numbers, or at one for each action."""
        raise NotImplementedError

    def bounded(self, clean: Tensor) -> Tensor:
        """A clean chunk within the bounds that the sampler keeps to, if it keeps to any."""
        return clean

    def level_at(self, time: float) -> Level:
        """The level at any flow time.

        Raises:
            ConfigError: this sampler follows no such path, so that nothing can begin in the middle of it.
        """
        raise ConfigError(
            f"Nothing can begin in the middle of the steps of {type(self).__name__}; flow matching and diffusion can warm_start."
        )

    def prediction(self, x: Tensor, clean: Tensor, index: int) -> Tensor:
        """The prediction that means this clean chunk: the inverse of ``clean``."""
        raise NotImplementedError


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

    def path(self, index: int) -> tuple[float, float]:
        """t and 1 - t."""
        return self.times[index], 1.0 - self.times[index]

    def clean_at(self, x: Tensor, prediction: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """Where the tangent ends at t = 1."""
        return x + sigma * prediction

    def level_at(self, time: float) -> Level:
        """t and 1 - t."""
        return Level(time, time, 1.0 - time)

    def prediction(self, x: Tensor, clean: Tensor, index: int) -> Tensor:
        """The velocity that leads there; at t = 1 there is no way left, and any velocity does."""
        return (clean - x) / max(1.0 - self.times[index], 10.0**-_DIGITS)

    def settings(self) -> dict[str, Any]:
        """Solver and steps."""
        return {"solver": self.solver_name, "steps": self.steps}
