"""Solvers of the flow ODE dx/dt = v(x, t) from noise at t = 0 to data at t = 1: pure steps that know no network."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from praxon.errors import ConfigError, nearest

Velocity = Callable[[Tensor, float], Tensor]
Step = Callable[[Velocity, Tensor, float, float], Tensor]


def euler_step(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    """x(t) -> x(t + dt) along the tangent at t. Global error O(dt)."""
    return x + dt * velocity(x, t)


def heun_step(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    """x(t) -> x(t + dt) along the mean of the tangents at both ends (the explicit trapezoid). Global error O(dt^2)."""
    at_start = velocity(x, t)
    at_end = velocity(x + dt * at_start, t + dt)
    return x + 0.5 * dt * (at_start + at_end)


def midpoint_step(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    """x(t) -> x(t + dt) along the tangent half-way. Global error O(dt^2)."""
    return x + dt * velocity(x + 0.5 * dt * velocity(x, t), t + 0.5 * dt)


def runge_kutta_step(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    """x(t) -> x(t + dt) by the classical Runge-Kutta method. Global error O(dt^4)."""
    half = 0.5 * dt
    first = velocity(x, t)
    second = velocity(x + half * first, t + half)
    third = velocity(x + half * second, t + half)
    fourth = velocity(x + dt * third, t + dt)
    return x + dt / 6.0 * (first + 2.0 * (second + third) + fourth)


@dataclass(frozen=True)
class Solver:
    """A step and what is known about it.

    Args:
        step: (velocity, x, t, dt) -> x at t + dt.
        order: p, where halving dt divides the global error by 2^p.
        nodes: fractions of a step at which it evaluates the velocity, one per evaluation.
    """

    step: Step
    order: int
    nodes: tuple[float, ...]

    @property
    def evaluations(self) -> int:
        """Velocity evaluations per step."""
        return len(self.nodes)


SOLVERS = {
    "euler": Solver(euler_step, order=1, nodes=(0.0,)),
    "heun": Solver(heun_step, order=2, nodes=(0.0, 1.0)),
    "midpoint": Solver(midpoint_step, order=2, nodes=(0.0, 0.5)),
    "rk4": Solver(runge_kutta_step, order=4, nodes=(0.0, 0.5, 0.5, 1.0)),
}


def solver_by_name(name: str) -> Solver:
    """The solver of that name; ``ConfigError`` lists the names there are."""
    if name not in SOLVERS:
        raise ConfigError(f"Solver '{name}' does not exist. Solvers: {', '.join(SOLVERS)}.{nearest(name, SOLVERS)}")
    return SOLVERS[name]


def integrate(velocity: Velocity, noise: Tensor, solver: Solver, steps: int) -> Tensor:
    """Carry noise at t = 0 to a sample at t = 1 in equal steps."""
    x, dt = noise, 1.0 / steps
    for index in range(steps):
        x = solver.step(velocity, x, index * dt, dt)
    return x
