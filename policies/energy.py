"""Energy-based policy: a transformer judges chunks, and a sample is what the judgement leads to.

EBT-Policy (Davies et al., arXiv 2510.27545). The energy is trained through the descent that will be run on it: from a start
x_0, K steps x_{k+1} = x_k + eta * force(x_k) + noise are unrolled, and the error is differentiated through all of them, that is,
through derivatives of the energy.

The common loss asks every x_k to be the demonstrated chunk a, from a start that is noise. Since that start does not say
which chunk was demonstrated, the best answer to it is the mean of them all, and two ways of doing a task become one between
them. Here the start lies on the straight path of flow matching, with e ~ N(0, I) and t from 0 to 1,

    x_0 = (1 - t) e + t a,        loss = mean over k of w(t) (a_k - a)^2,
    a_k = x_0 + (x_k - x_0) / (1 - (1 - eta)^k)

a_k is where x_k says that it is heading: a step follows a part eta of the force, so k steps that are right cover
1 - (1 - eta)^k of the way. The first step alone makes x + force(x) the mean of a given x, whatever t: the force then is that of
the flow of ``FlowMatchingPolicy`` times (1 - t), descent follows that flow in ever smaller steps, and rests at data. The
further steps correct where the descent itself goes wrong. w(t) = 1 / ((1 - t)^2 + w_0^2) makes up for the part of a that x_0 tells.

A demonstration's own energy is drawn to zero, since training by forces alone would leave a constant for every
observation. The ``energy`` of a chunk then is comparable between observations.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.denoising.descent import DescentSampler
from praxon.policies.generative import GenerativePolicy
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.networks.energy_transformer import EnergyTransformer

NEAREST = 0.2
"""w_0: nearer to the demonstration than this part of the way, errors count no more."""


class EnergyPolicy(GenerativePolicy):
    """Trained through unrolled descent, sampled by descent until it rests.

    Args:
        contract: features, chunk and control period.
        encoder: config of the observation encoder.
        network: config of the energy, an ``EnergyTransformer``.
        unroll: K, steps that training goes down.
        unroll_noise: standard deviation of the noise that training adds after every step but the last.
        anchor: weight of the demonstrations' energy in the loss; 0 leaves each observation's energy its own zero.
        step_size, max_steps, tolerance, temperature: of the descent, see ``DescentSampler``; training takes the same
            step size, and keeps the one it was built with.
        options: of ``GenerativePolicy``.

    Raises:
        ConfigError: fewer than one unrolled step, a negative weight or noise, or a network that is no energy.
    """

    network: EnergyTransformer

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        unroll: int = 2,
        unroll_noise: float = 0.02,
        anchor: float = 0.01,
        step_size: float = 0.5,
        max_steps: int = 12,
        tolerance: float = 0.03,
        temperature: float = 0.0,
        **options: Any,
    ) -> None:
        if unroll < 1:
            raise ConfigError(f"Training goes down at least one step; got unroll={unroll}.")
        if unroll_noise < 0 or anchor < 0:
            raise ConfigError(f"unroll_noise and anchor are 0 or more; got {unroll_noise} and {anchor}.")
        self.unroll, self.unroll_noise, self.anchor, self.trained_step = unroll, unroll_noise, anchor, step_size
        engine = {
            "step_size": step_size,
            "max_steps": max_steps,
            "tolerance": tolerance,
            "temperature": temperature,
        }
        super().__init__(contract, encoder=encoder, network=network, engine=engine, **options)

    @property
    def compilable(self) -> bool:
        """Forces are derivatives of a network, and training differentiates them again."""
        return False

    def make_network(self, config: Mapping[str, Any], **options: Any) -> Denoiser:
        """The energy.

        Raises:
            ConfigError: a network that is none.
        """
        network = super().make_network(config, **options)
        if not isinstance(network, EnergyTransformer):
            raise ConfigError(f"The energy policy needs an EnergyTransformer; got '{config['_target_']}'.")
        return network

    def make_sampler(self, **settings: Any) -> DescentSampler:
        """Descent."""
        return DescentSampler(**settings)

    def error(self, action_BTA: Tensor, tokens_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """Weighed squared error of where the unrolled steps head, and the demonstrations' energy."""
        batch, device = len(action_BTA), generator.device
        noise_BTA = torch.randn(action_BTA.shape, generator=generator, device=device)
        time_B11 = torch.rand(batch, 1, 1, generator=generator, device=device)
        start_BTA = (1.0 - time_B11) * noise_BTA + time_B11 * action_BTA
        condition = self.network.condition(tokens_BSD)
        nothing = self.network.modulation(time_B11[:, 0])

        x_BTA, error_BTA = start_BTA, torch.zeros_like(start_BTA)
        for step in range(1, self.unroll + 1):
            x_BTA = x_BTA + self.trained_step * self.network.denoise(x_BTA, nothing, condition).float()
            heading_BTA = start_BTA + (x_BTA - start_BTA) / (1.0 - (1.0 - self.trained_step) ** step)
            error_BTA = error_BTA + (heading_BTA - action_BTA).square()
            if step < self.unroll:
                x_BTA = x_BTA + self.unroll_noise * torch.randn(x_BTA.shape, generator=generator, device=device)
        error_BTA = error_BTA / self.unroll / ((1.0 - time_B11).square() + NEAREST**2)
        if self.anchor:
            resting_B = self.network.energy(action_BTA, condition).float() / action_BTA[0].numel()
            error_BTA = error_BTA + self.anchor * resting_B.square()[:, None, None]
        return error_BTA

    @torch.no_grad()
    def energy(self, window: Mapping[str, Tensor], chunk: Tensor) -> Tensor:
        """How badly a chunk fits the observations: about 0 for what was demonstrated, more for what was not.

        Args:
            window: as of ``sample``.
            chunk: (B, horizon, A), physical units; with ``lead``, its rows come first.

        Returns:
            (B,) energy per component of the chunk, in squared network units: half the squared distance to a mode, where there
            is but one.
        """
        inside_BTA = self.encode_actions({**window, self.contract.action.name: chunk})
        condition = self.network.condition(self.encoder(window, self.normalizer))
        return self.network.energy(inside_BTA, condition) / inside_BTA[0].numel()

    @torch.no_grad()
    def steps_taken(self, window: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """How many steps ``sample`` takes for each, (B,): up to ``max_steps`` where the energy leaves it undecided."""
        condition = self.network.condition(self.encoder(window, self.normalizer))
        nothing = self.network.modulation(noise.new_zeros(1, 1))
        sampler = self.engine.sampler
        assert isinstance(sampler, DescentSampler)
        steps_B: Tensor = sampler.descend(
            lambda x_BTA, _: self.network.denoise(x_BTA, nothing, condition), self.noise_scale * noise
        ).steps_B
        return steps_B
