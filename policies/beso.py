"""BESO: a score-based policy with Karras preconditioning that samples in three steps and can be given a goal.

Reuss et al., "Goal-Conditioned Imitation Learning using Score-based Diffusion Policies", arXiv 2304.02532. With a chunk a
in network units, noise n ~ N(0, I) and a noise level sigma from a truncated log-logistic distribution, the network F is
trained on (see ``denoising.karras`` for the c's)

    loss = mean (F(c_in (a + sigma n); t(sigma), o) - (a - c_skip (a + sigma n)) / c_out)^2

which weighs all levels alike.

What differs from the paper. It predicts the single next action after a window of past actions; here, as everywhere in
Praxon, a chunk is predicted from a window of observations. It leaves actions unscaled with sigma_data 0.5; here they have
unit variance, so sigma_data is 1 and equal levels are twice as large: sigma_min, 0.005 to 0.1 there, would be 0.01 to 0.2 and
is 0.1. Its sigma_max, 1, would be 2 here, where noise hides a single action; a chunk of n correlated components is hidden by
sqrt(n) times as much, and where the largest noise does not hide it the network never has to find the way from the
observation. So sigma_max is 20, and the levels of training spread twice as wide (scale 1, for which uniform flow times are the
same distribution). Among samplers of three steps DPM-Solver++(2M) on Karras's levels kept two ways of doing a task apart best;
the paper's are ``ddim`` and ``euler_ancestral`` on ``exponential`` or ``linear`` levels.

Goals are the observation features named ``goal.*``. Training drops them with probability ``goal_dropout``, so that sampling can
weigh the answers with and without them (see ``denoising.guidance``). Without such features guidance has no effect.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.denoising.guidance import GuidedDenoiser
from praxon.policies.denoising.karras import KarrasSampler, Preconditioning
from praxon.policies.generative import GenerativePolicy


class BesoPolicy(GenerativePolicy):
    """Trained to denoise at levels between sigma_min and sigma_max, sampled in a few steps.

    Args:
        contract: features, chunk and control period.
        encoder, network: configs of the observation encoder and the denoiser.
        sigma_data, sigma_min, sigma_max: see ``Preconditioning``.
        sigma_spread: scale of the logistic distribution of ln sigma in training.
        goal_dropout: probability of training a sample without its goal; at 0 and 1 one of the two answers is never learned.
        guidance: weight w of the goal at inference: 0 without it, 1 with it, 1.5 to 2 in the paper.
        solver, steps, schedule: see ``KarrasSampler``.
        options: of ``GenerativePolicy``.
    """

    network: GuidedDenoiser

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        sigma_data: float = 1.0,
        sigma_min: float = 0.1,
        sigma_max: float = 20.0,
        sigma_spread: float = 1.0,
        goal_dropout: float = 0.1,
        guidance: float = 1.5,
        solver: str = "dpmpp_2m",
        steps: int = 3,
        schedule: str = "karras",
        **options: Any,
    ) -> None:
        if not 0 <= goal_dropout <= 1:
            raise ConfigError(f"goal_dropout is a probability; got {goal_dropout}.")
        if not sigma_spread > 0:
            raise ConfigError(f"sigma_spread is {sigma_spread}; it must be positive.")
        self.preconditioning = Preconditioning(sigma_data, sigma_min, sigma_max)
        self.sigma_spread, self.goal_dropout = sigma_spread, goal_dropout
        engine = {"solver": solver, "steps": steps, "schedule": schedule, "guidance": guidance}
        super().__init__(contract, encoder=encoder, network=network, engine=engine, **options)

    def make_network(self, config: Mapping[str, Any], **options: Any) -> GuidedDenoiser:
        """The network, wrapped so that its goals can be left out."""
        inner = super().make_network(config, **options)
        weight = self.engine.sampler.settings()["guidance"]
        return GuidedDenoiser(inner, self.encoder.goal_slice, self.encoder.width, weight)

    def make_sampler(self, **settings: Any) -> KarrasSampler:
        """A solver over noise levels; guidance may ask for nothing that was not learned."""
        sampler = KarrasSampler(self.preconditioning, **settings)
        learned = {0.0: 1.0, 1.0: 0.0}.get(self.goal_dropout, sampler.guidance)
        if sampler.guidance != learned and any(feature.is_goal for feature in self.contract.observations):
            raise ConfigError(
                f"With goal_dropout={self.goal_dropout} only guidance={learned} has been learned; got {sampler.guidance}."
            )
        return sampler

    def remarks(self) -> tuple[str, ...]:
        """See ``Policy``."""
        if any(feature.is_goal for feature in self.contract.observations):
            return ()
        return ("The policy has no goals, so that guidance is off; policy.goals=[<observation>] gives it some.",)

    def configure_engine(self, settings: Mapping[str, Any]) -> None:
        """See ``GenerativePolicy.configure_engine``; the guidance weight goes to the network."""
        super().configure_engine(settings)
        self.network.set_weight(self.engine.sampler.settings()["guidance"])

    def error(self, action_BTA: Tensor, tokens_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """Squared error of F."""
        batch, device = len(action_BTA), generator.device
        noise_BTA = torch.randn(action_BTA.shape, generator=generator, device=device)
        uniform_B, coin_B = torch.rand(2, batch, generator=generator, device=device)
        sigma_B = self.preconditioning.draw(uniform_B, self.sigma_spread)
        noisy_BTA, target_BTA = self.pair(action_BTA, noise_BTA, sigma_B)
        tokens_BSD = self.network.drop_goals(tokens_BSD, coin_B < self.goal_dropout)
        predicted_BTA = self.network.inner(noisy_BTA, self.preconditioning.time(sigma_B)[:, None], tokens_BSD)
        return (predicted_BTA.float() - target_BTA).square()

    def pair(self, action_BTA: Tensor, noise_BTA: Tensor, sigma_B: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees and what it shall answer, both of unit variance for data of sigma_data."""
        sigma = sigma_B[:, None, None]
        noisy_BTA = action_BTA + sigma * noise_BTA
        target_BTA = (action_BTA - self.preconditioning.skip(sigma) * noisy_BTA) / self.preconditioning.out(sigma)
        return self.preconditioning.scale_in(sigma) * noisy_BTA, target_BTA
