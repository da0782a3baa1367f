"""Flow matching: a policy that carries noise to an action chunk along straight paths.

Lipman et al., arXiv 2210.02747, with the straight paths of rectified flow (Liu et al., arXiv 2209.03003); as a robot
policy with noise-heavy times: pi0, Black et al., arXiv 2410.24164. On the paths of ``straight_paths.py``,

    x_t = (1 - t) e + t a,    target u = a - e,    loss = mean (v(x_t, t, o) - u)^2

and sampling integrates dx/dt = v(x, t, o) from t = 0 to 1. (pi0's code, openpi, lets time run the other way.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.policies.denoising.restart import staircase
from praxon.policies.denoising.samplers import FlowSampler
from praxon.policies.straight_paths import StraightPathPolicy, point_on_path


class FlowMatchingPolicy(StraightPathPolicy):
    """Trained by flow matching, sampled by integrating the flow.

    Args:
        contract: features, chunk and control period.
        encoder, network: configs of the observation encoder and the denoiser.
        solver: of the flow ODE at inference.
        steps: of the solver.
        prefix_delays: see ``PrefixTraining``; ``None`` trains without given actions.
        streaming: share of the samples whose actions have flow times that fall from stage to stage, as streaming asks for
            (Høeg et al., arXiv 2406.04806; 0.8 there); the others share one time.
        options: of ``StraightPathPolicy``.
    """

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        solver: str = "euler",
        steps: int = 10,
        prefix_delays: Sequence[float] | None = None,
        streaming: float = 0.0,
        **options: Any,
    ) -> None:
        engine = {"solver": solver, "steps": steps}
        super().__init__(contract, encoder=encoder, network=network, engine=engine, **options)
        self.prefix = self.make_prefix(prefix_delays)
        self.streaming = self.make_streaming(streaming)

    def make_sampler(self, **settings: Any) -> FlowSampler:
        """An ODE solver."""
        return FlowSampler(**settings)

    def path_error(
        self,
        noise_BTA: Tensor,
        action_BTA: Tensor,
        tokens_BSD: Tensor,
        generator: torch.Generator,
        features: list[Tensor] | None,
    ) -> Tensor:
        """Squared error of the velocity."""
        time_B = self.times.draw(len(action_BTA), generator)
        time_BT = time_B[:, None]
        if self.streaming:
            time_BT = self._streaming_times(time_B, action_BTA.shape[1], generator)
        noisy_BTA = point_on_path(noise_BTA, action_BTA, time_BT)
        if self.prefix is None:
            velocity_BTA = self.network(noisy_BTA, time_BT, tokens_BSD, features=features)
            return (velocity_BTA.float() - (action_BTA - noise_BTA)).square()
        given_BT = self.prefix.draw(action_BTA, generator)
        noisy_BTA = torch.where(given_BT[..., None], action_BTA, noisy_BTA)
        velocity_BTA = self.network(noisy_BTA, time_BT, tokens_BSD, features=features, given_BT=given_BT)
        error_BTA = (velocity_BTA.float() - (action_BTA - noise_BTA)).square()
        return error_BTA * self.prefix.count(given_BT)[..., None]

    def _streaming_times(self, time_B: Tensor, horizon: int, generator: torch.Generator) -> Tensor:
        """One time for each action (B, T): rising towards the first, in the share of samples that ``streaming`` is."""
        among_B = torch.rand(len(time_B), generator=generator, device=generator.device) < self.streaming
        within_B = torch.rand(len(time_B), generator=generator, device=generator.device)
        stairs_BT = staircase(within_B, horizon, self.contract.chunk.num_execute)
        return torch.where(among_B[:, None], stairs_BT, time_B[:, None])
