"""What policies share that learn from straight paths between noise and chunks.

With a chunk a (network units), noise e ~ N(0, I) and flow time t from 0 (noise) to 1 (data):

    x_t = (1 - t) e + t a,    velocity dx_t/dt = a - e

(rectified flow, Liu et al., arXiv 2209.03003). A subclass says what is regressed at a point of the path: the velocity
there (flow matching) or the mean velocity of a step (shortcut models, MeanFlow).

Shapes: B batch, T action tokens, A action size, S observation tokens, D width.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.dispersive import dispersive_loss
from praxon.policies.flow_times import FlowTimes
from praxon.policies.generative import GenerativePolicy
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.pairing import pair_noise

MeanVelocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x (B, T, A), t (B,), d (B,)) -> mean velocity of the flow over [t, t + d] (B, T, A)."""


class StraightPathPolicy(GenerativePolicy):
    """Parent of the policies that learn from straight paths.

    Args:
        contract: features, chunk and control period.
        encoder, network: configs of the observation encoder and the denoiser.
        time_distribution, time_alpha, time_mean, time_std: flow times of training, see ``FlowTimes``.
        pairing: pair noise and chunks of a batch by optimal transport, and how much a difference between their
            observations counts there (C2OT); ``None`` pairs at random. See ``pairing.py`` for its bias.
        dispersive: weight of the dispersive loss on the network's features; 0 is none.
        options: of ``GenerativePolicy``.

    Raises:
        ConfigError: ``pairing`` or ``dispersive`` below 0, or an impossible time distribution.
    """

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        engine: Mapping[str, Any],
        time_distribution: str = "beta",
        time_alpha: float = 1.5,
        time_mean: float = 0.0,
        time_std: float = 1.0,
        pairing: float | None = None,
        dispersive: float = 0.0,
        **options: Any,
    ) -> None:
        self.times = FlowTimes(time_distribution, time_alpha, time_mean, time_std)
        if (pairing or 0.0) < 0 or dispersive < 0:
            raise ConfigError(f"Weights are at least 0; got pairing {pairing} and dispersive {dispersive}.")
        super().__init__(contract, encoder=encoder, network=network, engine=engine, **options)
        self.pairing, self.dispersive = pairing, dispersive

    @abstractmethod
    def path_error(
        self,
        noise_BTA: Tensor,
        action_BTA: Tensor,
        tokens_BSD: Tensor,
        generator: torch.Generator,
        features: list[Tensor] | None,
    ) -> Tensor:
        """The error (B, T, A) on the paths from ``noise_BTA`` to ``action_BTA``.

        Args:
            noise_BTA: start of each path.
            action_BTA: its end, in network units.
            tokens_BSD: encoded observations.
            generator: the only source of further randomness.
            features: handed to the network, which appends its activations.
        """

    def error(self, action_BTA: Tensor, tokens_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """See ``GenerativePolicy.error``."""
        noise_BTA = torch.randn(action_BTA.shape, generator=generator, device=generator.device)
        if self.pairing is not None:
            noise_BTA = pair_noise(noise_BTA, action_BTA, tokens_BSD, self.pairing)
        if not self.dispersive:
            return self.path_error(noise_BTA, action_BTA, tokens_BSD, generator, None)
        features: list[Tensor] = []
        error_BTA = self.path_error(noise_BTA, action_BTA, tokens_BSD, generator, features)
        # All but the last, which has to carry the prediction (as MP1 leaves out the deepest level).
        dispersion_B = dispersive_loss(features[:-1] or features)
        return error_BTA + self.dispersive * dispersion_B[:, None, None]


def point_on_path(noise_BTA: Tensor, action_BTA: Tensor, time_BT: Tensor) -> Tensor:
    """x_t (B, T, A) at a flow time of each sample (B, 1), or of each action (B, T)."""
    time_BT1 = time_BT[..., None]
    return (1.0 - time_BT1) * noise_BTA + time_BT1 * action_BTA


def mean_velocity_of(network: Denoiser, tokens_BSD: Tensor) -> MeanVelocity:
    """What a network that is told times and lengths says of these observations, float32."""
    condition = network.condition(tokens_BSD)
    return lambda x_BTA, time_B, span_B: network.denoise(
        x_BTA, network.modulation(time_B[:, None], span_B[:, None]), condition
    ).float()


def random_share(batch_size: int, share: float, generator: torch.Generator) -> Tensor:
    """Indices of a random ``share`` of a batch, rounded, but some of it where both share and rest are wanted.

    A single sample is in it with the probability ``share``.
    """
    count = round(share * batch_size)
    if batch_size == 1:
        count = int(torch.rand((), generator=generator, device=generator.device) < share)
    if 0.0 < share < 1.0 and batch_size > 1:
        count = min(max(count, 1), batch_size - 1)
    return torch.randperm(batch_size, generator=generator, device=generator.device)[:count]
