"""Noise schedules of diffusion: how much of the data and how much noise there is at each level.

At level k of N, numbered as in DDPM (Ho et al., arXiv 2006.11239) from 0, nearly clean, to N - 1, nearly noise:

    x_k = alpha_k a + sigma_k e,    alpha_k^2 + sigma_k^2 = 1,    alpha_k^2 = product of (1 - beta_i) for i <= k

Flow time is t = 1 - k / N. The betas come from ``diffusers``.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from praxon.errors import ConfigError, nearest

BETA_SCHEDULES = ("squaredcos_cap_v2", "linear", "scaled_linear")


@dataclass(frozen=True)
class NoiseSchedule:
    """The levels a network was trained on.

    Args:
        num_levels: N.
        betas: ``squaredcos_cap_v2`` (Nichol and Dhariwal, arXiv 2102.09672), ``linear`` or ``scaled_linear``.
        first_beta, last_beta: ends of the linear ones; the cosine has none.

    Raises:
        ConfigError: unknown schedule, or fewer than two levels.
    """

    num_levels: int = 100
    betas: str = "squaredcos_cap_v2"
    first_beta: float = 1e-4
    last_beta: float = 0.02

    def __post_init__(self) -> None:
        if self.betas not in BETA_SCHEDULES:
            raise ConfigError(
                f"Noise schedule '{self.betas}' does not exist. Schedules: {', '.join(BETA_SCHEDULES)}."
                f"{nearest(self.betas, BETA_SCHEDULES)}"
            )
        if self.num_levels < 2:
            raise ConfigError(f"Diffusion needs at least two noise levels; got {self.num_levels}.")

    @property
    def settings(self) -> dict[str, Any]:
        """What a scheduler of ``diffusers`` takes to have these levels."""
        return {
            "num_train_timesteps": self.num_levels,
            "beta_schedule": self.betas,
            "beta_start": self.first_beta,
            "beta_end": self.last_beta,
        }

    @cached_property
    def _spread(self) -> np.ndarray:
        """sigma_k / alpha_k, (N,), increasing."""
        from diffusers import DDPMScheduler  # takes seconds to import, and only diffusion needs it

        alpha_squared = DDPMScheduler(**self.settings).alphas_cumprod.double().numpy()
        return np.sqrt((1.0 - alpha_squared) / alpha_squared)

    def at(self, level: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Level, also between two whole ones -> alpha and sigma; between levels sigma / alpha is linear."""
        spread = np.interp(level, np.arange(self.num_levels), self._spread)
        alpha = 1.0 / np.sqrt(1.0 + spread**2)
        return alpha, spread * alpha
