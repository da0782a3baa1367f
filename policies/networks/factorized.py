"""Conditions in order of priority: what comes first decides alone, what comes second may only correct it.

Factorized Diffusion Policies (Patil et al., arXiv 2509.16830): with o1 the observations of priority and o2 the rest,

    grad log p(a | o1, o2) = grad log p(a | o1) + grad log p(o2 | a, o1)

The base network is a whole denoiser that sees o1. A residual network of the same shape sees both, and its blocks correct
the base's: what each returns is added, through a layer that starts at zero, after the same block of the base. Its own head,
zero at the start as well, corrects the output. So an untrained residual leaves the base as it is, to the bit.

Tokens of o1 come first: S of them all, the first ``num_first`` those of o1. A network that is handed those alone is the base.

Shapes: B batch, T action tokens, A action size, S observation tokens, D width.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from praxon.contract import PolicyContract
from praxon.policies.build import build_part
from praxon.policies.networks.blocks import BlockName, Run, run_all, under
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.networks.encoders import Encoder
from praxon.policies.networks.transformer import Condition, TransformerDenoiser
from praxon.policies.normalizer import Normalizer


class FactorizedEncoder(Encoder):
    """Two encoders of the same config that share nothing: tokens of o1, then of o2.

    Args:
        contract: names the features.
        first, second: names of the features of o1 and of o2.
        encoder: config of both.

    Attributes:
        num_first: tokens of o1.
    """

    def __init__(
        self, contract: PolicyContract, *, first: list[str], second: list[str], encoder: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.first, self.second = (
            build_part(encoder, Encoder, replace(contract, observations=tuple(contract.feature(n) for n in names)))
            for names in (first, second)
        )
        self.width, self.num_first = self.first.width, self.first.num_tokens
        self.num_tokens = self.num_first + self.second.num_tokens

    def forward(
        self, window: Mapping[str, Tensor], normalizer: Normalizer, generator: torch.Generator | None = None
    ) -> Tensor:
        """See ``Encoder.forward``."""
        return torch.cat([part(window, normalizer, generator) for part in (self.first, self.second)], dim=1)


class FactorizedCondition(NamedTuple):
    """Keys and values of the base, and of the residual where there is one."""

    base: Condition
    residual: Condition | None


class FactorizedDenoiser(Denoiser):
    """A base network and its corrections. In training the base is a constant to whoever sees all tokens.

    Args:
        action_size, horizon, num_tokens, token_width, spans: see ``Denoiser``.
        num_first: tokens of o1.
        network: config of both networks, a ``TransformerDenoiser``.
    """

    def __init__(
        self,
        action_size: int,
        horizon: int,
        num_tokens: int,
        token_width: int,
        *,
        num_first: int,
        network: Mapping[str, Any],
        spans: bool = False,
    ) -> None:
        super().__init__()
        self.num_first = num_first
        self.base, self.residual = (
            build_part(network, TransformerDenoiser, action_size, horizon, tokens, token_width, spans=spans)
            for tokens in (num_first, num_tokens)
        )
        self.taps = nn.ModuleList(nn.Linear(self.base.width, self.base.width) for _ in range(self.base.depth))
        for weight in self.taps.parameters():
            nn.init.zeros_(weight)

    def condition(self, tokens_BSD: Tensor) -> FactorizedCondition:
        """Of the base, and of the residual unless there are but the tokens of o1."""
        base = self.base.condition(tokens_BSD[:, : self.num_first])
        return FactorizedCondition(base, self.residual.condition(tokens_BSD) if self._is_whole(tokens_BSD) else None)

    def modulation(self, time_BT: Tensor, span_BT: Tensor | None = None) -> Tensor:
        """Those of the base, then those of the residual."""
        return torch.cat([self.base.modulation(time_BT, span_BT), self.residual.modulation(time_BT, span_BT)], dim=2)

    def denoise(
        self,
        noisy_BTA: Tensor,
        modulation: Tensor,
        condition: FactorizedCondition,
        features: list[Tensor] | None = None,
        run: Run = run_all,
    ) -> Tensor:
        """See ``Denoiser.denoise``; ``features`` are those of the base's layers after correction."""
        of_base, of_residual = modulation.chunk(2, dim=2)
        run_base, run_residual = under("base.", run), under("residual.", run)
        if condition.residual is None:
            return self.base.denoise(noisy_BTA, of_base, condition.base, features, run_base)
        tapped: list[Tensor] = []
        correction_BTA = self.residual.denoise(noisy_BTA, of_residual, condition.residual, tapped, run_residual)
        corrections_BTD = [tap(x_BTD) for tap, x_BTD in zip(self.taps, tapped, strict=True)]
        corrected = self.base.denoise(noisy_BTA, of_base, condition.base, features, run_base, corrections_BTD)
        return corrected + correction_BTA

    @property
    def block_names(self) -> tuple[BlockName, ...]:
        """Those of the residual, which is run first, then those of the base."""
        parts = (("residual.", self.residual), ("base.", self.base))
        return tuple(replace(each, name=prefix + each.name) for prefix, part in parts for each in part.block_names)

    @property
    def own_times(self) -> bool:
        """They may."""
        return True

    def mixed_modulation(self, mask_BT: Tensor, there: Tensor, elsewhere: Tensor) -> Tensor:
        """See ``Denoiser.mixed_modulation``; base and residual mix alike."""
        return self.base.mixed_modulation(mask_BT, there, elsewhere)

    def forward(
        self,
        noisy_BTA: Tensor,
        time_BT: Tensor,
        tokens_BSD: Tensor,
        span_BT: Tensor | None = None,
        features: list[Tensor] | None = None,
        given_BT: Tensor | None = None,
    ) -> Tensor:
        """See ``Denoiser.forward``: the base where there are but the tokens of o1, else the whole on a constant base."""
        if not self._is_whole(tokens_BSD):
            return self.base(noisy_BTA, time_BT, tokens_BSD, span_BT, features, given_BT)
        with constant(self.base):
            return super().forward(noisy_BTA, time_BT, tokens_BSD, span_BT, features, given_BT)

    def _is_whole(self, tokens_BSD: Tensor) -> bool:
        return tokens_BSD.shape[1] > self.num_first


@contextmanager
def constant(module: nn.Module) -> Iterator[None]:
    """What is computed inside takes the module's weights as given: gradients pass through it, none reach them."""
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)
