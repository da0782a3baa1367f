"""Factorized policy: observations in order of priority, on flow matching.

Factorized Diffusion Policies (FDP; Patil et al., arXiv 2509.16830). A base denoiser learns from the observations of
priority alone; a residual network that sees all of them learns to correct it (see ``networks.factorized``). Where the rest
misleads, because a camera is covered or the scene looks different, there is less for it to spoil.

The paper trains the base first, freezes it and trains the residual. Here both are trained at once,

    loss = loss of the base, given o1  +  loss of the whole, given o1 and o2, with the base and o1's tokens as constants

Each weight has a gradient from one of the two losses alone, so the base is trained exactly as in the paper's first phase, and
once it has converged the residual's problem is that of the second. What differs is that the residual starts while the base
still moves. The paper uses noise prediction; the objective here is ``FlowMatchingPolicy``'s.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from praxon.contract import FEATURE_KINDS, PolicyContract
from praxon.errors import ConfigError, nearest
from praxon.policies.flow_matching import FlowMatchingPolicy
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.networks.encoders import Encoder
from praxon.policies.networks.factorized import FactorizedDenoiser, FactorizedEncoder

_SEEN = ("image", "point_cloud")
_OWN = ("joint_position", "joint_velocity")


class FactorizedPolicy(FlowMatchingPolicy):
    """Flow matching on a base and its corrections.

    Args:
        contract: features, chunk and control period.
        encoder: config of the observation encoder; o1 and o2 get one each.
        network: config of the denoiser, a ``TransformerDenoiser``; base and residual get one each.
        priority: what is o1: names or kinds of features. Where None: numbers before pictures and point clouds; where there are
            but numbers, the robot's own joints before everything else; where that separates nothing, the first feature
            before the others. With a single feature there is nothing to factorise: the residual sees the same and adds
            capacity only.
        options: of ``FlowMatchingPolicy``.

    Raises:
        ConfigError: a priority that names no feature, or all of them.
    """

    encoder: FactorizedEncoder
    network: FactorizedDenoiser

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        priority: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        self.first, self.second = split(contract, priority)
        super().__init__(contract, encoder=encoder, network=network, **options)

    def make_encoder(self, config: Mapping[str, Any]) -> Encoder:
        """One for each part."""
        return FactorizedEncoder(self.contract, first=self.first, second=self.second, encoder=config)

    def make_network(self, config: Mapping[str, Any], **options: Any) -> Denoiser:
        """Base and residual."""
        num_first = self.encoder.num_first
        target = f"{FactorizedDenoiser.__module__}.{FactorizedDenoiser.__name__}"
        return super().make_network({"_target_": target, "num_first": num_first, "network": config}, **options)

    def error(self, action_BTA: Tensor, tokens_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """That of the base and that of the whole, added."""
        first_BSD, second_BSD = tokens_BSD.tensor_split([self.encoder.num_first], dim=1)
        whole_BSD = torch.cat([first_BSD.detach(), second_BSD], dim=1)
        return super().error(action_BTA, first_BSD, generator) + super().error(action_BTA, whole_BSD, generator)


def split(contract: PolicyContract, priority: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Names of the features of o1 and of o2, see ``FactorizedPolicy``."""
    features = contract.observations
    names = [feature.name for feature in features]
    if priority is None:
        for kinds in (tuple(k for k in FEATURE_KINDS if k not in _SEEN), _OWN):
            first = [feature.name for feature in features if feature.kind in kinds]
            if 0 < len(first) < len(names):
                break
        else:
            first = names[:1]
        return first, [name for name in names if name not in first] or names
    for entry in priority:
        known = [*names, *dict.fromkeys(feature.kind for feature in features)]
        if entry not in known:
            raise ConfigError(
                f"Priority is given to '{entry}', which is no feature or kind of one; there are {', '.join(known)}."
                f"{nearest(entry, known)}"
            )
    first = [feature.name for feature in features if feature.name in priority or feature.kind in priority]
    if not 0 < len(first) < len(names):
        raise ConfigError(
            f"Priority is given to {len(first)} of the features {', '.join(names)}; some of them must come first, and "
            "some must be left."
        )
    return first, [name for name in names if name not in first]
