"""Noise that grows by its standard deviation sigma: preconditioning, noise levels and samplers of Karras et al.

"Elucidating the Design Space of Diffusion-Based Generative Models" (EDM), arXiv 2206.00364. A noisy chunk is
x = a + sigma n with n ~ N(0, I), and the denoiser D(x; sigma), which shall return the mean of a given x, is made from a
network F whose input and target have unit variance at every level when a has standard deviation s (table 1, column "ours"):

    D(x; sigma) = c_skip x + c_out F(c_in x; t),    c_skip = s^2 / (sigma^2 + s^2),
    c_out = sigma s / sqrt(sigma^2 + s^2),          c_in = 1 / sqrt(sigma^2 + s^2)

Flow time is affine in ln sigma, from 0 at the largest level to 1 at the smallest, so that networks see what they see of
every other method; the papers feed ln(sigma) / 4, the same up to scale and offset. Samplers integrate
dx/dsigma = (x - D) / sigma from sigma_max down to 0, where the last step always returns D.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from praxon.errors import ConfigError, nearest
from praxon.policies.denoising.samplers import Evaluate, Sampler

Denoise = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Preconditioning:
    """c_skip, c_out and c_in, and the levels between which a network was trained.

    Args:
        sigma_data: standard deviation of a component of the chunk, in network units.
        sigma_min: smallest noise level that the network is asked about.
        sigma_max: largest; sampling starts from noise of this size.

    Raises:
        ConfigError: unless 0 < sigma_min < sigma_max and sigma_data is positive.
    """

    sigma_data: float = 1.0
    sigma_min: float = 0.1
    sigma_max: float = 20.0

    def __post_init__(self) -> None:
        if not (0 < self.sigma_min < self.sigma_max and self.sigma_data > 0):
            raise ConfigError(
                f"Noise levels run from sigma_min={self.sigma_min} to sigma_max={self.sigma_max} for data of "
                f"sigma_data={self.sigma_data}; all must be positive, and the first below the second."
            )

    def total(self, sigma: Tensor) -> Tensor:
        """Standard deviation of a noisy component."""
        return (sigma.square() + self.sigma_data**2).sqrt()

    def skip(self, sigma: Tensor) -> Tensor:
        """c_skip."""
        return self.sigma_data**2 / self.total(sigma).square()

    def out(self, sigma: Tensor) -> Tensor:
        """c_out."""
        return sigma * self.sigma_data / self.total(sigma)

    def scale_in(self, sigma: Tensor) -> Tensor:
        """c_in."""
        return 1.0 / self.total(sigma)

    def time(self, sigma: Tensor) -> Tensor:
        """Flow time of a level: 0 at sigma_max, 1 at sigma_min, affine in ln sigma."""
        return torch.log(self.sigma_max / sigma) / math.log(self.sigma_max / self.sigma_min)

    def draw(self, uniform: Tensor, scale: float = 1.0) -> Tensor:
        """Uniform numbers in [0, 1) -> levels from a log-logistic distribution cut to [sigma_min, sigma_max].

        ln sigma is logistic with location ln sigma_data (BESO, arXiv 2304.02532, and its code).
        """
        location = math.log(self.sigma_data)
        low, high = (1.0 / (1.0 + math.exp((location - math.log(s)) / scale)) for s in (self.sigma_min, self.sigma_max))
        log_sigma = location + scale * torch.logit(low + (high - low) * uniform.double())
        return log_sigma.exp().clamp(self.sigma_min, self.sigma_max).to(uniform.dtype)


# -- Noise levels of a sample: the largest first, without the 0 at the end ----------------------------------------------


def exponential_levels(steps: int, sigma_min: float, sigma_max: float) -> list[float]:
    """Equal ratios between neighbours."""
    return [sigma_max * (sigma_min / sigma_max) ** ramp for ramp in _ramp(steps)]


def linear_levels(steps: int, sigma_min: float, sigma_max: float) -> list[float]:
    """Equal differences between neighbours."""
    return [sigma_max + ramp * (sigma_min - sigma_max) for ramp in _ramp(steps)]


def karras_levels(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> list[float]:
    """Equal differences of sigma^(1/rho) (arXiv 2206.00364, equation 5)."""
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return [(high + ramp * (low - high)) ** rho for ramp in _ramp(steps)]


def _ramp(steps: int) -> list[float]:
    return [index / max(steps - 1, 1) for index in range(steps)]


LEVELS: dict[str, Callable[[int, float, float], list[float]]] = {
    "exponential": exponential_levels,
    "linear": linear_levels,
    "karras": karras_levels,
}

# -- Solvers: x at the first level -> x at the last, which is 0. ``noises`` holds one fresh noise per step but the last ----


def ddim(denoise: Denoise, x: Tensor, levels: Sequence[float], noises: Sequence[Tensor]) -> Tensor:
    """DDIM: x' = (sigma'/sigma) x + (1 - sigma'/sigma) D. It is DPM-Solver-1, and Euler's step in sigma."""
    for index, (sigma, lower) in enumerate(_steps(levels)):
        x = _towards(denoise(x, index), x, lower / sigma)
    return x


def euler_ancestral(denoise: Denoise, x: Tensor, levels: Sequence[float], noises: Sequence[Tensor]) -> Tensor:
    """Euler to below the next level, then fresh noise up to it: the posterior's variance, as in DDPM."""
    for index, (sigma, lower) in enumerate(_steps(levels)):
        up = lower * math.sqrt(sigma**2 - lower**2) / sigma
        x = _towards(denoise(x, index), x, math.sqrt(lower**2 - up**2) / sigma)
        if lower > 0:
            x = x + up * noises[index]
    return x


def heun(denoise: Denoise, x: Tensor, levels: Sequence[float], noises: Sequence[Tensor]) -> Tensor:
    """The trapezoid of the slopes at both levels (arXiv 2206.00364, algorithm 1); two evaluations per step but the last."""
    for index, (sigma, lower) in enumerate(_steps(levels)):
        slope = (x - denoise(x, index)) / sigma
        ahead = x + (lower - sigma) * slope
        if lower > 0:
            slope = 0.5 * (slope + (ahead - denoise(ahead, index + 1)) / lower)
            ahead = x + (lower - sigma) * slope
        x = ahead
    return x


def dpmpp_2m(denoise: Denoise, x: Tensor, levels: Sequence[float], noises: Sequence[Tensor]) -> Tensor:
    """DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, algorithm 2): DDIM's step towards D extrapolated from the last two."""
    before, width_before = x, 0.0
    for index, (sigma, lower) in enumerate(_steps(levels)):
        clean = denoise(x, index)
        target = clean
        if lower > 0:
            width = math.log(sigma / lower)
            if index:
                target = clean + 0.5 * width / width_before * (clean - before)
            before, width_before = clean, width
        x = _towards(target, x, lower / sigma)
    return x


def _steps(levels: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(levels, [*levels[1:], 0.0], strict=True))


def _towards(target: Tensor, x: Tensor, kept: float) -> Tensor:
    return kept * x + (1.0 - kept) * target


@dataclass(frozen=True)
class KarrasSolver:
    """A solver and what is known about it.

    Args:
        run: (denoiser by index of the level, x, levels, noises) -> sample.
        order: p, where doubling the steps divides the error by 2^p; for solvers that add noise, of the moments.
        adds_noise: whether it takes one noise per step but the last.
    """

    run: Callable[[Denoise, Tensor, Sequence[float], Sequence[Tensor]], Tensor]
    order: int
    adds_noise: bool = False


KARRAS_SOLVERS = {
    "ddim": KarrasSolver(ddim, order=1),
    "euler": KarrasSolver(ddim, order=1),
    "euler_ancestral": KarrasSolver(euler_ancestral, order=1, adds_noise=True),
    "heun": KarrasSolver(heun, order=2),
    "dpmpp_2m": KarrasSolver(dpmpp_2m, order=2),
}


class KarrasSampler(Sampler):
    """Carries noise of size sigma_max to a sample through falling noise levels.

    Args:
        preconditioning: of the network, which is asked for F.
        solver: a name of ``KARRAS_SOLVERS``.
        steps: levels above 0; as many evaluations, about twice as many for ``heun``.
        schedule: of the levels, a name of ``LEVELS``.
        guidance: weight of the goal; carried here as a choice of the sample's, for the network that applies it.

    Raises:
        ConfigError: unknown solver or schedule, fewer than one step, or a guidance below 0.
    """

    def __init__(
        self,
        preconditioning: Preconditioning,
        *,
        solver: str = "dpmpp_2m",
        steps: int = 3,
        schedule: str = "karras",
        guidance: float = 1.0,
    ) -> None:
        if solver not in KARRAS_SOLVERS:
            raise ConfigError(
                f"Solver '{solver}' does not exist. Solvers: {', '.join(KARRAS_SOLVERS)}.{nearest(solver, KARRAS_SOLVERS)}"
            )
        if schedule not in LEVELS:
            raise ConfigError(
                f"Schedule '{schedule}' does not exist. Schedules: {', '.join(LEVELS)}.{nearest(schedule, LEVELS)}"
            )
        if steps < 1:
            raise ConfigError(f"Denoising takes at least one step; got {steps}.")
        if not guidance >= 0:
            raise ConfigError(f"The guidance weight is {guidance}; it is 0 (no goal), 1 (the goal) or more.")
        self.preconditioning, self.guidance = preconditioning, float(guidance)
        self.solver_name, self.steps, self.schedule = solver, steps, schedule
        self._solver = KARRAS_SOLVERS[solver]
        self.levels = LEVELS[schedule](steps, preconditioning.sigma_min, preconditioning.sigma_max)
        levels = torch.tensor(self.levels, dtype=torch.float64)
        self.times = preconditioning.time(levels).tolist()
        self.num_noises = steps if self._solver.adds_noise else 1
        self._skip, self._out, self._in = (
            part(levels).tolist() for part in (preconditioning.skip, preconditioning.out, preconditioning.scale_in)
        )

    def run(self, evaluate: Evaluate, noise: Tensor) -> Tensor:
        """See ``Sampler.run``; the prediction is F."""

        def denoise(x: Tensor, index: int) -> Tensor:
            return self._skip[index] * x + self._out[index] * evaluate(self._in[index] * x, index)

        first, *others = noise.unbind(1) if self.num_noises > 1 else (noise,)
        return self._solver.run(denoise, self.levels[0] * first, self.levels, others)

    def path(self, index: int) -> tuple[float, float]:
        """c_in and c_in sigma: the network sees c_in (a + sigma n)."""
        return self._in[index], self._in[index] * self.levels[index]

    def clean(self, x: Tensor, prediction: Tensor, index: int) -> Tensor:
        """D, from c_in x and F."""
        return self._skip[index] / self._in[index] * x + self._out[index] * prediction

    def prediction(self, x: Tensor, clean: Tensor, index: int) -> Tensor:
        """F, from c_in x and D."""
        return (clean - self._skip[index] / self._in[index] * x) / self._out[index]

    def settings(self) -> dict[str, Any]:
        """Solver, steps, schedule and guidance."""
        return {
            "solver": self.solver_name,
            "steps": self.steps,
            "schedule": self.schedule,
            "guidance": self.guidance,
        }
