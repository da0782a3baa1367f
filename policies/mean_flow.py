"""MeanFlow: a policy that learns the mean velocity of any stretch of the flow, and so reaches the chunk in one step.

Geng et al., arXiv 2505.13447; as a robot policy: MP1, Sheng et al., arXiv 2507.10543. Both let time run from data to
noise; here it runs from 0 (noise) to 1 (data) on the paths of ``straight_paths.py``. The mean velocity over a step of
length s that starts at (x_t, t) is

    u(x_t, t, s) = 1/s integral from t to t + s of v(x_tau, tau) dtau,    so that x_{t+s} = x_t + s u(x_t, t, s).

Keep the end t + s fixed and let the start move along the flow, dx/dt = v and ds/dt = -1. The derivative of s u, which is
the integral, is -v; by the product rule it is also -u + s du/dt. Hence the MeanFlow identity

    u = v + s du/dt,    du/dt = (v, 1, -1) . grad_(x, t, s) u

whose right-hand side is the target of training: v becomes the path's a - e, which is v in the mean, du/dt is one
forward-mode derivative of the network, and no gradient goes through either. At s = 0 the target is flow matching's.

Two things keep a short training on its way, neither of them in the papers. The correction s du/dt is the difference
between two mean velocities, u - v, and so about as large as actions are spread; that of a network in training can be
tens of times that, which the next target amplifies. A sample whose correction has a root mean square above
``correction_limit`` counts less, by the ratio of the two: its gradient is bounded, and what a trained network answers stays
what the identity says, which cutting the correction itself would change. And one-step sampling asks for nothing but
steps from pure noise, which two random times hardly ever give: a part of the steps, ``from_noise``, starts at t = 0 with any
length. Networks have to be smooth in time (their ``shortest_period``): with the periods of a flow matching policy, 4e-3
and up, du/dt is noise.

Shapes: B batch, M its moving share (s > 0), T action tokens, A action size, S observation tokens, D width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.denoising.span_samplers import SpanSampler
from praxon.policies.straight_paths import (
    MeanVelocity,
    StraightPathPolicy,
    mean_velocity_of,
    point_on_path,
    random_share,
)


class MeanFlowPolicy(StraightPathPolicy):
    """Trained by the MeanFlow identity, sampled in one step or any number of equal steps.

    Args:
        contract: features, chunk and control period.
        encoder, network: configs of the observation encoder and the denoiser.
        anchors: share of a batch with s = 0, which is flow matching and anchors the rest (paper 0.75, MP1 0.5).
        adaptive_power: p of the per-sample weight (error + adaptive_offset)^-p, without gradient (paper 1, MP1 0.5, none 0).
        adaptive_offset: see there; also the error below which a sample counts less.
        guidance: w of the velocity w (a - e) + (1 - w) u(x, t, 0), which replaces a - e in the target (MP1 2; 1 is none).
            As in MP1's code u is conditioned like everything else, so that it changes no fixed point, only the way there.
        from_noise: share of the other steps that start at t = 0.
        correction_limit: root mean square of s du/dt over a chunk above which a sample counts less, in network units.
        steps: at inference.
        options: of ``StraightPathPolicy``; a step starts at the earlier of two times and ends at the later.

    Raises:
        ConfigError: a share not within 0 and 1, or ``adaptive_offset``, ``correction_limit`` or ``guidance`` not above 0.
    """

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        anchors: float = 0.75,
        adaptive_power: float = 0.5,
        adaptive_offset: float = 1e-2,
        guidance: float = 1.0,
        from_noise: float = 0.5,
        correction_limit: float = 3.0,
        steps: int = 1,
        **options: Any,
    ) -> None:
        for name, share in (("anchors", anchors), ("from_noise", from_noise)):
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"MeanFlow's share {name} lies between 0 and 1; got {share}.")
        above_zero = {
            "adaptive_offset": adaptive_offset,
            "correction_limit": correction_limit,
            "guidance": guidance,
        }
        for name, number in above_zero.items():
            if not number > 0.0:
                raise ConfigError(f"MeanFlow's {name} is above 0; got {number}.")
        self.anchors, self.from_noise, self.guidance = anchors, from_noise, guidance
        self.correction_limit = correction_limit
        self.adaptive_power, self.adaptive_offset = adaptive_power, adaptive_offset
        super().__init__(contract, encoder=encoder, network=network, spans=True, engine={"steps": steps}, **options)

    def make_sampler(self, **settings: Any) -> SpanSampler:
        """Equal steps."""
        return SpanSampler(**settings)

    def path_error(
        self,
        noise_BTA: Tensor,
        action_BTA: Tensor,
        tokens_BSD: Tensor,
        generator: torch.Generator,
        features: list[Tensor] | None,
    ) -> Tensor:
        """Squared error of the mean velocity times the sample's adaptive weight."""
        B = len(action_BTA)
        moving_M = random_share(B, 1.0 - self.anchors, generator)
        start_B, end_B = torch.stack([self.times.draw(B, generator) for _ in range(2)]).sort(dim=0).values
        start_M, span_M = self._moves(start_B[moving_M], end_B[moving_M], generator)
        start_B = start_B.index_copy(0, moving_M, start_M)
        span_B = torch.zeros_like(start_B).index_copy(0, moving_M, span_M)
        noisy_BTA = point_on_path(noise_BTA, action_BTA, start_B[:, None])
        # Before the target: what autocast casts without gradients, some versions of torch keep for whoever comes next.
        predicted_BTA = self.network(noisy_BTA, start_B[:, None], tokens_BSD, span_B[:, None], features)
        velocity_BTA = action_BTA - noise_BTA
        if self.guidance != 1.0:
            velocity_BTA = self._guided(velocity_BTA, noisy_BTA, start_B, tokens_BSD)
        target_BTA = velocity_BTA
        if len(moving_M):
            target_MTA = self._target(
                noisy_BTA[moving_M], start_M, span_M, velocity_BTA[moving_M], tokens_BSD[moving_M]
            )
            target_BTA = velocity_BTA.index_copy(0, moving_M, target_MTA)
        error_BTA = (predicted_BTA.float() - target_BTA).square()
        weight_B = (error_BTA.detach().mean(dim=(1, 2)) + self.adaptive_offset) ** -self.adaptive_power
        correction_B = (target_BTA - velocity_BTA).square().mean(dim=(1, 2)).sqrt()
        weight_B = weight_B * self.correction_limit / correction_B.clamp_min(self.correction_limit)
        return weight_B[:, None, None] * error_BTA

    def _moves(self, start_M: Tensor, end_M: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Starts and lengths of steps, some of them from pure noise."""
        uniform_2M = torch.rand(2, len(start_M), generator=generator, device=generator.device)
        from_noise_M = uniform_2M[0] < self.from_noise
        start_M = torch.where(from_noise_M, 0.0, start_M)
        # 1 - u lies in (0, 1]: a step across the whole path is possible, one of no length is not.
        return start_M, torch.where(from_noise_M, 1.0 - uniform_2M[1], end_M - start_M)

    @torch.no_grad()
    def _guided(self, velocity_BTA: Tensor, noisy_BTA: Tensor, time_B: Tensor, tokens_BSD: Tensor) -> Tensor:
        own_BTA = self.network(noisy_BTA, time_B[:, None], tokens_BSD, torch.zeros_like(time_B)[:, None]).float()
        return self.guidance * velocity_BTA + (1.0 - self.guidance) * own_BTA

    @torch.no_grad()
    def _target(
        self, noisy_MTA: Tensor, time_M: Tensor, span_M: Tensor, velocity_MTA: Tensor, tokens_MSD: Tensor
    ) -> Tensor:
        """Derivatives in float32, and of plain attention: the fused kernels have no forward mode."""
        with torch.autocast(noisy_MTA.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
            mean_velocity = mean_velocity_of(self.network, tokens_MSD.float())
            return mean_flow_target(mean_velocity, noisy_MTA, time_M, span_M, velocity_MTA)


def mean_flow_target(
    mean_velocity: MeanVelocity,
    x_BTA: Tensor,
    time_B: Tensor,
    span_B: Tensor,
    velocity_BTA: Tensor,
) -> Tensor:
    """The right-hand side of the MeanFlow identity, v + s du/dt.

    Args:
        mean_velocity: u, of the network.
        x_BTA: where the step starts.
        time_B: when it starts.
        span_B: its length.
        velocity_BTA: v at its start.
    """
    tangents = (velocity_BTA, torch.ones_like(time_B), -torch.ones_like(span_B))
    derivative_BTA: Tensor = torch.func.jvp(mean_velocity, (x_BTA, time_B, span_B), tangents)[1]
    return velocity_BTA + span_B[:, None, None] * derivative_BTA
