"""A policy whose chunks critics have a say in: the policy it was, what they think of a chunk, and how that changes what is done.

    window --base policy--> N candidates --refinement--> one chunk
       \\------state-------> critics ----------^

The policy below is any that draws chunks from noise. It may be trained anew where critics see numbers: their units are their own.
Since choosing is part of ``sample``, such a bundle is evaluated, served, compiled and exported as any other. It is made by
``praxon improve`` and by nothing else.

Shapes: B batch, N candidates, S state, H rows of a chunk, A components in network units, L numbers of noise for one chunk,
E critics, O observation steps.
"""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.base import Needs, Policy
from praxon.policies.build import build_part, build_policy_for
from praxon.policies.denoising.continuation import Plan
from praxon.policies.generative import GenerativePolicy
from praxon.policies.networks.value import CriticEnsemble
from praxon.policies.normalizer import is_numeric
from praxon.policies.refinement import Refinement, Sizes

NEAR_M = 0.1
"""Unit of the distances between things that critics see [m]; they are cut off at ten of it."""


class RefinedPolicy(Policy):
    """See above.

    Args:
        contract: of the policy below, whose horizon begins at the newest observation.
        base: config of the policy below.
        refinement: config of the ``Refinement``.
        critics: how many, E.
        hidden: widths of their layers.

    Raises:
        ConfigError: the policy below already is refined, or its chunks are not a function of its noise.
    """

    def __init__(
        self,
        contract: PolicyContract,
        *,
        base: Mapping[str, Any],
        refinement: Mapping[str, Any],
        critics: int = 10,
        hidden: tuple[int, ...] = (256, 256),
    ) -> None:
        below = build_policy_for(base, contract)
        if isinstance(below, RefinedPolicy):
            raise ConfigError("This policy is refined already; the policy below it is what is refined.")
        super().__init__(contract, actions=below.actions.kind)
        self.base = below
        chunk = contract.chunk
        self.sizes = Sizes(
            self._state_size(), chunk.horizon, chunk.num_execute, below.actions.size, math.prod(below.noise_shape)
        )
        self.refinement: Refinement = build_part(refinement, Refinement, self.sizes)
        if below.deterministic and self.refinement.candidates > 1:
            raise ConfigError(
                f"{type(below).__name__} draws the same chunk whatever the noise, so that there is nothing to choose among; "
                "refinement=residual moves it."
            )
        if self.refinement.chooses_noise and getattr(below, "noise_shape", ())[:-2]:
            raise ConfigError(
                "The steps of this policy's sampler add noise of their own, and dsrl chooses it all at once; a solver without is "
                "needed: engine={solver:ddim} of a diffusion policy."
            )
        self.critics = CriticEnsemble(
            self.sizes.state, self.sizes.execute * self.sizes.components, tuple(hidden), critics
        )
        self.exploring = False
        """Whether an actor samples; while it learns."""

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """The base policy's: to train the policy below, nothing else."""
        return self.base.loss(batch, generator)

    def needs(self) -> Needs:
        """The base policy's."""
        return self.base.needs()

    def state(self, window: Mapping[str, Tensor]) -> Tensor:
        """What critics see (B, S): normalised numbers, how far things are from each other, and, where
        there are pictures or point clouds, the tokens that it makes of everything."""
        parts = [
            self.normalizer.normalize(feature.name, window[feature.name]).flatten(1)
            for feature in self.contract.observations
            if is_numeric(feature)
        ]
        for one, other in self._pairs:
            way_B3 = window[other][:, -1, :3].float() - window[one][:, -1, :3].float()
            parts.append((way_B3 / NEAR_M).clamp(-10, 10))
        if self._encodes and isinstance(self.base, GenerativePolicy):
            parts.append(self.base.encoder(window, self.base.normalizer).flatten(1))
        return torch.cat(parts, dim=1)

    def value(self, state_MS: Tensor, chunk_MHA: Tensor) -> Tensor:
        """What each critic thinks of chunks in network units (E, M)."""
        value_EM: Tensor = self.critics(state_MS, chunk_MHA[:, : self.sizes.execute].flatten(1))
        return value_EM

    def propose(
        self, window: Mapping[str, Tensor], noise: Tensor, plan: Plan | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """State (B, S), noise of the candidates (B, N, L), candidates (B, N, H, A) and the chosen chunk (B, H, A)."""
        batch, count = len(noise), self.refinement.candidates
        state_BS = self.state(window).expand(batch, -1)
        explore_BL = noise[:, count].flatten(1)
        latent_BNL = self.refinement.latents(state_BS, noise[:, :count].flatten(2), explore_BL, self.exploring)
        many = _repeated(window, batch, count)
        plans = (
            None
            if plan is None
            else Plan(*(part.expand(batch, *part.shape[1:]).repeat_interleave(count, 0) for part in plan))
        )
        drawn = self.base.sample(many, latent_BNL.reshape(batch * count, *self.base.noise_shape), plans)
        wide = _repeated(window, batch, count, always=True)
        base_MHA = self.encode_actions({**wide, self.contract.action.name: drawn})
        base_BNHA = base_MHA.unflatten(0, (batch, count))
        chosen_BHA = self.refinement.choose(self.value, state_BS, base_BNHA, explore_BL, self.exploring)
        chosen_BHA = torch.where(self.refinement.informed > 0, chosen_BHA, base_BNHA[:, 0])
        return state_BS, latent_BNL, base_BNHA, chosen_BHA

    def sample(self, window: Mapping[str, Tensor], noise: Tensor, plan: Plan | None = None) -> Tensor:
        """See ``Policy.sample``."""
        chosen_BHA = self.propose(window, noise, plan)[-1]
        return self.decode_actions(chosen_BHA, _repeated(window, len(noise), 1, always=True))

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(N + 1, of the policy below): candidates, then what an actor explores by."""
        return self.refinement.candidates + 1, *self.base.noise_shape

    @property
    def fixed(self) -> bool:
        """As the policy below."""
        return self.base.fixed

    @property
    def continues(self) -> bool:
        """As the policy below."""
        return self.base.continues

    def freeze(self) -> None:
        """See ``Policy.freeze``."""
        super().freeze()
        self.base.freeze()

    def engine_settings(self) -> dict[str, Any]:
        """Of the policy below."""
        return self.base.engine_settings()

    def configure_engine(self, settings: Mapping[str, Any]) -> None:
        """Of the policy below."""
        self.base.configure_engine(settings)

    @property
    def movable(self) -> bool:
        """Whether the policy below may be trained anew without what critics or actor know becoming of another."""
        return not self._encodes and not self.refinement.chooses_noise

    @property
    def _pairs(self) -> list[tuple[str, str]]:
        """Observed poses that are told in the same frame, two by two."""
        poses = [f for f in self.contract.observations if f.kind == "pose" and f.shape == (7,)]
        return [(one.name, other.name) for one, other in combinations(poses, 2) if one.frame == other.frame]

    @property
    def _encodes(self) -> bool:
        return any(not is_numeric(feature) for feature in self.contract.observations)

    def _state_size(self) -> int:
        steps = self.contract.chunk.num_obs_steps
        size = steps * sum(feature.size for feature in self.contract.observations if is_numeric(feature))
        size += 3 * len(self._pairs)
        if self._encodes:
            if not isinstance(self.base, GenerativePolicy):
                raise ConfigError(
                    f"Critics see pictures by the tokens of the policy below, and {type(self.base).__name__} has none; "
                    "policy.observations= names those without pictures."
                )
            size += self.base.encoder.num_tokens * self.base.encoder.width
        return size


def _repeated(window: Mapping[str, Tensor], batch: int, count: int, always: bool = False) -> dict[str, Tensor]:
    """Each observation as often as there are candidates; a single one may stay single where it serves any number of noises."""
    if not always and all(len(value) == 1 for value in window.values()):
        return dict(window)
    return {name: value.expand(batch, *value.shape[1:]).repeat_interleave(count, 0) for name, value in window.items()}
