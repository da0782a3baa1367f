"""Flow matching: a policy that carries noise to an action chunk along straight paths.

Lipman et al., arXiv 2210.02747, with the straight paths of rectified flow (Liu et al., arXiv 2209.03003); as a robot
policy with noise-heavy times: pi0, Black et al., arXiv 2410.24164. With a chunk a (network units), noise e ~ N(0, I)
and flow time t from 0 (noise) to 1 (data):

    x_t = (1 - t) e + t a,    target u = a - e,    loss = mean (v(x_t, t, o) - u)^2

and sampling integrates dx/dt = v(x, t, o) from t = 0 to 1. (pi0 writes the same with time running the other way.)
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.errors import ConfigError, nearest
from praxon.policies.denoising.samplers import FlowSampler
from praxon.policies.generative import GenerativePolicy

# Inverse cumulative distributions: uniform numbers in [0, 1) -> flow times.
TIME_DISTRIBUTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda u: u,
    # 0.999 (1 - b) with b ~ Beta(1.5, 1): more effort near noise, where the observation must decide the action
    # (arXiv 2410.24164, appendix B). The distribution function of b is b^1.5.
    "beta": lambda u: 0.999 * (1.0 - u ** (1.0 / 1.5)),
}


class FlowMatchingPolicy(GenerativePolicy):
    """Trained by flow matching, sampled by integrating the flow.

    Args:
        contract: features, chunk and control period.
        encoder, network: configs of the observation encoder and the denoiser.
        time_distribution: ``uniform`` or ``beta`` (noise-heavy).
        solver: of the flow ODE at inference.
        steps: of the solver.
        options: of ``GenerativePolicy``.
    """

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        time_distribution: str = "beta",
        solver: str = "euler",
        steps: int = 10,
        **options: Any,
    ) -> None:
        if time_distribution not in TIME_DISTRIBUTIONS:
            raise ConfigError(
                f"Time distribution '{time_distribution}' does not exist. "
                f"Distributions: {', '.join(TIME_DISTRIBUTIONS)}.{nearest(time_distribution, TIME_DISTRIBUTIONS)}"
            )
        engine = {"solver": solver, "steps": steps}
        super().__init__(contract, encoder=encoder, network=network, engine=engine, **options)
        self.time_distribution = time_distribution

    def make_sampler(self, **settings: Any) -> FlowSampler:
        """An ODE solver."""
        return FlowSampler(**settings)

    def error(self, action_BTA: Tensor, tokens_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """Squared error of the velocity."""
        noise_BTA = torch.randn(action_BTA.shape, generator=generator, device=generator.device)
        time_B = self._times(len(action_BTA), generator)
        time_B11 = time_B[:, None, None]
        noisy_BTA = (1.0 - time_B11) * noise_BTA + time_B11 * action_BTA
        velocity_BTA = self.network(noisy_BTA, time_B[:, None], tokens_BSD)
        return (velocity_BTA.float() - (action_BTA - noise_BTA)).square()

    def _times(self, batch_size: int, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(batch_size, generator=generator, device=generator.device)
        return TIME_DISTRIBUTIONS[self.time_distribution](uniform)
