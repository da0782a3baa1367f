"""Classifier-free guidance: one network learns with and without the goal, and sampling weighs the two answers.

Ho and Salimans, arXiv 2207.12598, in the form of BESO (arXiv 2304.02532):

    D = (1 - w) D_null + w D_goal

w = 0 leaves the goal out, 1 follows it, more exaggerates what it changes. Every prediction that is affine in D with weights
that do not depend on the goal (noise, velocity, F of the Karras preconditioning) may be weighed instead.

Shapes: B batch, S observation tokens, G goal tokens among them, D width of a token.
"""

from typing import Any

import torch
from torch import Tensor, nn

from praxon.errors import ConfigError
from praxon.policies.networks.blocks import BlockName, Run, run_all
from praxon.policies.networks.denoiser import Denoiser


class GuidedDenoiser(Denoiser):
    """A denoiser whose goal tokens can be replaced by learned ones that say "no goal".

    Training calls ``inner`` with tokens from ``drop_goals``; sampling calls this, which asks ``inner`` for both answers in
    one batch of twice the size (for one answer where the weight is 0 or 1, or there is no goal).

    Args:
        inner: the network.
        goal_slice: which of the tokens are goals; may be empty.
        token_width: D.
        weight: w.

    Raises:
        ConfigError: a weight below 0.
    """

    def __init__(self, inner: Denoiser, goal_slice: slice, token_width: int, weight: float = 1.0) -> None:
        super().__init__()
        self.inner, self.goal_slice = inner, goal_slice
        self.set_weight(weight)
        num_goals = goal_slice.stop - goal_slice.start
        self.null_GD = nn.Parameter(0.02 * torch.randn(num_goals, token_width)) if num_goals else None

    def set_weight(self, weight: float) -> None:
        """Change w."""
        if weight < 0:
            raise ConfigError(f"The guidance weight is {weight}; it is 0 (no goal), 1 (the goal) or more.")
        self.weight = float(weight)

    def drop_goals(self, tokens_BSD: Tensor, dropped_B: Tensor) -> Tensor:
        """The tokens, where ``dropped_B`` is true with "no goal" in place of the goal."""
        if self.null_GD is None:
            return tokens_BSD
        goal_BGD = torch.where(dropped_B[:, None, None], self.null_GD, tokens_BSD[:, self.goal_slice])
        return torch.cat(
            [tokens_BSD[:, : self.goal_slice.start], goal_BGD, tokens_BSD[:, self.goal_slice.stop :]], dim=1
        )

    def condition(self, tokens_BSD: Tensor) -> Any:
        """The inner network's, of "no goal" for the first half of a doubled batch and of the goal for the second."""
        if self.weight == 1.0 or self.null_GD is None:
            return self.inner.condition(tokens_BSD)
        everywhere = torch.ones(len(tokens_BSD), dtype=torch.bool, device=tokens_BSD.device)
        without_BSD = self.drop_goals(tokens_BSD, everywhere)
        if self.weight == 0.0:
            return self.inner.condition(without_BSD)
        return self.inner.condition(torch.cat([without_BSD, tokens_BSD]))

    def modulation(self, time_BT: Tensor, span_BT: Tensor | None = None) -> Tensor:
        """The inner network's."""
        return self.inner.modulation(time_BT, span_BT)

    def denoise(
        self,
        noisy_BTA: Tensor,
        modulation: Tensor,
        condition: Any,
        features: list[Tensor] | None = None,
        run: Run = run_all,
    ) -> Tensor:
        """See ``Denoiser.denoise``; ``features``, and what a block gives, are those of the doubled batch."""
        if self.weight in (0.0, 1.0) or self.null_GD is None:
            return self.inner.denoise(noisy_BTA, modulation, condition, features, run)
        if len(modulation) > 1:
            modulation = torch.cat([modulation, modulation])
        both = self.inner.denoise(torch.cat([noisy_BTA, noisy_BTA]), modulation, condition, features, run)
        without, with_goal = both.chunk(2)
        return torch.lerp(without, with_goal, self.weight)

    @property
    def block_names(self) -> tuple[BlockName, ...]:
        """The inner network's."""
        return self.inner.block_names

    @property
    def own_times(self) -> bool:
        """Whether those of the inner network may."""
        return self.inner.own_times

    def mixed_modulation(self, mask_BT: Tensor, there: Tensor, elsewhere: Tensor) -> Tensor:
        """The inner network's."""
        return self.inner.mixed_modulation(mask_BT, there, elsewhere)
