"""Shortcut models: one network that takes steps of any length, so that the same weights draw samples in 1 to 128 steps.

Frans, Hafner, Levine, Abbeel, arXiv 2410.12557. On the paths of ``straight_paths.py`` the network s(x, t, d) is to
predict the mean velocity of the flow over a step of length d, for the lengths d = 1, 1/2, ..., 1/finest. A small part of
training gives the smallest step its meaning, the rest passes it upwards, each length resting on two steps of half of it:

    d = 1/finest:         s(x_t, t, d)  -> a - e                                       flow matching
    2d = 2/finest ... 1:  s(x_t, t, 2d) -> (s(x, t, d) + s(x + d s(x, t, d), t + d, d)) / 2      self-consistency

The second target is taken from the network as it is, without a gradient. The paper takes it from an average of the
weights (0.999). Each doubling of the step then rests on weights that are a thousand optimiser steps old, seven doublings
on weights seven times as old, which trainings of a few thousand steps never catch up with: on a two-mode toy, after 500
steps, one-step samples were 0.4 from the nearest mode without the average and 1.2 with 0.999 or 0.99.

The paper clips x + d s and the target to +-4, for data within +-1. Actions with unit variance may lie beyond, so
nothing is clipped here.

Shapes: B batch, R its bootstrapped share, T action tokens, A action size, S observation tokens, D width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

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


class ShortcutPolicy(StraightPathPolicy):
    """Trained by flow matching and self-consistency, sampled in any power of two of steps.

    Args:
        contract: features, chunk and control period.
        encoder, network: configs of the observation encoder and the denoiser.
        finest: most steps, a power of two.
        bootstrap: share of a batch that learns from two half steps.
        steps: at inference, a power of two up to ``finest``.
        options: of ``StraightPathPolicy``; its time distribution is that of the flow matching part.

    Raises:
        ConfigError: ``finest`` or ``steps`` is no power of two, or ``bootstrap`` not within 0 and 1.
    """

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        finest: int = 128,
        bootstrap: float = 0.125,
        steps: int = 1,
        **options: Any,
    ) -> None:
        if finest < 2 or finest & (finest - 1):
            raise ConfigError(f"A shortcut model's finest grid has 2, 4, 8, ... steps; got {finest}.")
        if not 0.0 < bootstrap < 1.0:
            raise ConfigError(f"The bootstrapped share lies between 0 and 1, both excluded; got {bootstrap}.")
        self.finest, self.bootstrap = finest, bootstrap
        super().__init__(contract, encoder=encoder, network=network, spans=True, engine={"steps": steps}, **options)

    def make_sampler(self, **settings: Any) -> SpanSampler:
        """Equal steps of a length that the network was trained on."""
        sampler = SpanSampler(**settings)
        if sampler.steps > self.finest or sampler.steps & (sampler.steps - 1):
            raise ConfigError(
                f"A shortcut model takes a power of two of steps, here up to {self.finest}; got {sampler.steps}, "
                f"try {_powers_beside(sampler.steps, self.finest)}."
            )
        return sampler

    def path_error(
        self,
        noise_BTA: Tensor,
        action_BTA: Tensor,
        tokens_BSD: Tensor,
        generator: torch.Generator,
        features: list[Tensor] | None,
    ) -> Tensor:
        """Squared error of the mean velocity of the step."""
        B = len(action_BTA)
        chosen_R = random_share(B, self.bootstrap, generator)
        chosen_time_R, chosen_span_R = self._grid_steps(len(chosen_R), generator)
        time_B = self.times.draw(B, generator).index_copy(0, chosen_R, chosen_time_R)
        span_B = torch.full_like(time_B, 1.0 / self.finest).index_copy(0, chosen_R, chosen_span_R)
        noisy_BTA = point_on_path(noise_BTA, action_BTA, time_B[:, None])
        # Before the target: what autocast casts without gradients, some versions of torch keep for whoever comes next.
        predicted_BTA = self.network(noisy_BTA, time_B[:, None], tokens_BSD, span_B[:, None], features)
        with torch.no_grad():
            mean_velocity = mean_velocity_of(self.network, tokens_BSD[chosen_R])
            target_RTA = shortcut_target(mean_velocity, noisy_BTA[chosen_R], chosen_time_R, chosen_span_R)
        target_BTA = (action_BTA - noise_BTA).index_copy(0, chosen_R, target_RTA)
        return (predicted_BTA.float() - target_BTA).square()

    def _grid_steps(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Times and lengths of steps longer than the finest: equally many of each length, from where sampling takes them."""
        uniform_2R = torch.rand(2, count, generator=generator, device=generator.device)
        longer = self.finest.bit_length() - 1
        per_unit_R = torch.exp2((uniform_2R[0] * longer).floor())
        return (uniform_2R[1] * per_unit_R).floor() / per_unit_R, 1.0 / per_unit_R


def shortcut_target(mean_velocity: MeanVelocity, x_BTA: Tensor, time_B: Tensor, span_B: Tensor) -> Tensor:
    """What a step from (x, t) of length ``span`` shall predict: the mean of two steps of half the length.

    Args:
        mean_velocity: of the network.
        x_BTA: where the step starts.
        time_B: when it starts.
        span_B: its length.
    """
    half_B = 0.5 * span_B
    first_BTA = mean_velocity(x_BTA, time_B, half_B)
    second_BTA = mean_velocity(x_BTA + half_B[:, None, None] * first_BTA, time_B + half_B, half_B)
    return 0.5 * (first_BTA + second_BTA)


def _powers_beside(steps: int, finest: int) -> str:
    below = 1 << (steps.bit_length() - 1)
    return str(finest) if below >= finest else f"{below} or {2 * below}"
