"""Where on the path from noise to data training looks: distributions of flow time, exact from uniform numbers.

Flow time t runs from 0 (noise) to 1 (data). Each distribution is the inverse of its distribution function, so a time is
one uniform number and nothing is rejected.

    uniform        t = u
    beta           t = 0.999 (1 - u^(1/alpha)): 1 - t/0.999 ~ Beta(alpha, 1). Noise-heavy for alpha > 1, where the
                   observation has to decide the action (pi0, arXiv 2410.24164, appendix B: alpha = 1.5, cut at
                   0.999; its code has 0.001 + 0.999 Beta(1.5, 1) of a time that runs from data to noise)
    logit_normal   t = sigmoid(mean + std n), n ~ N(0, 1): little at either end (Esser et al., arXiv 2403.03206, section
                   3.1; MeanFlow, arXiv 2505.13447, uses mean -0.4 from data to noise, which is +0.4 here)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from praxon.errors import ConfigError, nearest

TIME_DISTRIBUTIONS = ("uniform", "beta", "logit_normal")


@dataclass(frozen=True)
class FlowTimes:
    """A distribution of flow times.

    Args:
        distribution: ``uniform``, ``beta`` or ``logit_normal``.
        alpha: of ``beta``; 1 is nearly uniform, more is noisier.
        mean: of ``logit_normal``; above 0 is nearer to data.
        std: of ``logit_normal``.

    Raises:
        ConfigError: unknown distribution, or ``alpha`` or ``std`` not above 0.
    """

    distribution: str = "uniform"
    alpha: float = 1.5
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.distribution not in TIME_DISTRIBUTIONS:
            raise ConfigError(
                f"Time distribution '{self.distribution}' does not exist. "
                f"Distributions: {', '.join(TIME_DISTRIBUTIONS)}.{nearest(self.distribution, TIME_DISTRIBUTIONS)}"
            )
        if not (self.alpha > 0 and self.std > 0):
            raise ConfigError(f"Flow times need alpha and std above 0; got alpha {self.alpha} and std {self.std}.")

    def quantile(self, uniform: Tensor) -> Tensor:
        """The inverse distribution function: numbers in [0, 1) -> flow times in [0, 1], of their type."""
        if self.distribution == "beta":
            return 0.999 * (1.0 - uniform ** (1.0 / self.alpha))
        if self.distribution == "logit_normal":
            return torch.sigmoid(self.mean + self.std * torch.special.ndtri(uniform))
        return uniform

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` independent times (count,) on the generator's device."""
        return self.quantile(torch.rand(count, generator=generator, device=generator.device))
