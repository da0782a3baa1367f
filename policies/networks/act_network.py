"""The network of ACT: a conditional variational auto-encoder of action chunks (Zhao et al., arXiv 2304.13705).

    posterior   [CLS, state, a_1 ... a_T]        -> mean and log-variance of the latent z; in training alone
    context     [z, observation tokens]          -> memory
    features    T learned queries, memory        -> one vector for each row of the chunk

Shapes: B batch, T horizon, A action size, P size of the state, Z latent size, S observation tokens, D width.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from praxon.policies.networks.act_layers import KEEP_ALL, ActDecoder, ActEncoder, Dropout
from praxon.policies.networks.sizes import require_heads, sized

SIZES = {
    "small": {"width": 64, "hidden": 256, "num_heads": 4, "depth": 2, "decoder_depth": 2, "posterior_depth": 1},
    # As published; the original decoder has seven layers, of which only the first is heard (tonyzhaozh/act, issue 25).
    "base": {"width": 512, "hidden": 3200, "num_heads": 8, "depth": 4, "decoder_depth": 1, "posterior_depth": 4},
}
PRE_NORM = {"small": True, "base": False}
"""Post-norm as published; networks that start at a high learning rate stay stable with pre-norm."""


class Memory(NamedTuple):
    """Encoded tokens (B, 1 + S, D), the latent's first, and their positions (1, 1 + S, D)."""

    tokens_BSD: Tensor
    positions_BSD: Tensor


class Posterior(NamedTuple):
    """A normal distribution of the latent, both (B, Z)."""

    mean_BZ: Tensor
    log_variance_BZ: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """A draw (B, Z) through which gradients pass."""
        noise_BZ = torch.randn(self.mean_BZ.shape, generator=generator, device=generator.device)
        return self.mean_BZ + (0.5 * self.log_variance_BZ).exp() * noise_BZ

    def divergence(self) -> Tensor:
        """KL divergence from the standard normal (B,): summed over the latent [nats]."""
        mean_BZ, log_variance_BZ = self.mean_BZ.float(), self.log_variance_BZ.float()
        return 0.5 * (mean_BZ.square() + log_variance_BZ.exp() - 1.0 - log_variance_BZ).sum(dim=-1)


class ContextEncoder(nn.Module):
    """Latent and observation tokens -> memory.

    Args:
        token_width: width of an observation token.
        latent_size: Z.
        depth: encoder layers.
        layer: what ``ActEncoder`` takes besides.
    """

    def __init__(self, token_width: int, latent_size: int, depth: int, layer: Mapping[str, Any]) -> None:
        super().__init__()
        width = layer["width"]
        self.token_in = nn.Identity() if token_width == width else nn.Linear(token_width, width)
        self.latent_in = nn.Linear(latent_size, width)
        self.latent_position_D = nn.Parameter(torch.randn(width))
        self.encoder = ActEncoder(depth, **layer)

    def forward(
        self, latent_BZ: Tensor, tokens_BSD: Tensor, positions_SD: Tensor | None, drop: Dropout = KEEP_ALL
    ) -> Memory:
        """Encode.

        Args:
            latent_BZ: z.
            tokens_BSD: of the observations.
            positions_SD: of the tokens, for queries and keys; none where the tokens carry theirs in them.
        """
        if positions_SD is not None and not isinstance(self.token_in, nn.Identity):
            # Positions of another width cannot be added to queries here; they go in with the tokens.
            tokens_BSD, positions_SD = tokens_BSD + positions_SD, None
        tokens_BSD = self.token_in(tokens_BSD)
        if positions_SD is None:
            positions_SD = torch.zeros_like(tokens_BSD[0])
        x_BSD = torch.cat([self.latent_in(latent_BZ)[:, None], tokens_BSD], dim=1)
        positions_BSD = torch.cat([self.latent_position_D[None], positions_SD])[None]
        return Memory(self.encoder(x_BSD, positions_BSD, drop), positions_BSD)


class ActNetwork(nn.Module):
    """Posterior, context and features.

    Args:
        action_size: A.
        horizon: T.
        token_width: width of an observation token.
        state_size: P of the state that the posterior sees beside the actions; 0 where there is none.
        variational: whether there is a posterior; without one the latent is always zero.
        size: ``small`` or ``base`` (as published): the defaults of what follows.
        width: D.
        hidden: hidden width of the MLPs.
        num_heads: of every attention.
        depth: layers of the context encoder.
        decoder_depth: layers from memory to features.
        posterior_depth: layers of the posterior.
        pre_norm: layer norm before each part of a layer instead of after it.
        latent_size: Z.

    Raises:
        ConfigError: D is not divisible by the heads, or an unknown size.
    """

    posterior_positions_1SD: Tensor

    def __init__(
        self,
        action_size: int,
        horizon: int,
        token_width: int,
        state_size: int,
        variational: bool = True,
        *,
        size: str = "small",
        width: int | None = None,
        hidden: int | None = None,
        num_heads: int | None = None,
        depth: int | None = None,
        decoder_depth: int | None = None,
        posterior_depth: int | None = None,
        pre_norm: bool | None = None,
        latent_size: int = 32,
    ) -> None:
        super().__init__()
        given = {"width": width, "hidden": hidden, "num_heads": num_heads, "depth": depth}
        given |= {"decoder_depth": decoder_depth, "posterior_depth": posterior_depth}
        chosen = sized(SIZES, size, latent_size=latent_size, **given)
        width, num_heads = chosen["width"], chosen["num_heads"]
        require_heads(width, num_heads)
        self.width, self.latent_size = width, latent_size
        self.layer = {
            "width": width,
            "num_heads": num_heads,
            "hidden": chosen["hidden"],
            "pre_norm": PRE_NORM[size] if pre_norm is None else pre_norm,
        }
        self.context = ContextEncoder(token_width, latent_size, chosen["depth"], self.layer)
        self.decoder = ActDecoder(horizon, chosen["decoder_depth"], **self.layer)
        if variational:
            self.class_D = nn.Parameter(torch.randn(width))
            self.posterior_state_in = nn.Linear(state_size, width) if state_size else None
            self.posterior_action_in = nn.Linear(action_size, width)
            self.posterior_encoder = ActEncoder(chosen["posterior_depth"], **self.layer)
            # From zero: a divergence of tens of nats at the start would drown the actions' gradient.
            self.posterior_out = nn.Linear(width, 2 * latent_size)
            nn.init.zeros_(self.posterior_out.weight)
            nn.init.zeros_(self.posterior_out.bias)
            positions_SD = sine_positions(1 + bool(state_size) + horizon, width)
            self.register_buffer("posterior_positions_1SD", positions_SD[None], persistent=False)

    def posterior(
        self, action_BTA: Tensor, is_pad_BT: Tensor, state_BP: Tensor | None, drop: Dropout = KEEP_ALL
    ) -> Posterior:
        """What latent the demonstrated chunk speaks for.

        Args:
            action_BTA: the chunk in network units.
            is_pad_BT: rows past the episode's end, which are not looked at.
            state_BP: the state in network units, for networks with a ``state_size``.
        """
        tokens = [self.class_D.expand(len(action_BTA), 1, -1)]
        if self.posterior_state_in is not None and state_BP is not None:
            tokens.append(self.posterior_state_in(state_BP)[:, None])
        allowed_BS = torch.cat([is_pad_BT.new_ones(len(is_pad_BT), len(tokens)), ~is_pad_BT], dim=1)
        tokens.append(self.posterior_action_in(action_BTA))
        encoded_BSD = self.posterior_encoder(torch.cat(tokens, dim=1), self.posterior_positions_1SD, drop, allowed_BS)
        return Posterior(*self.posterior_out(encoded_BSD[:, 0]).chunk(2, dim=-1))

    def features(self, memory: Memory, drop: Dropout = KEEP_ALL) -> Tensor:
        """One vector for each row of the chunk (B, T, D)."""
        features: Tensor = self.decoder(*memory, drop)
        return features


def sine_positions(count: int, width: int) -> Tensor:
    """Sines at even and cosines at odd channels of positions 0, 1, ... (count, width); periods from 2 pi to 20000 pi.

    Vaswani et al., arXiv 1706.03762, section 3.5.
    """
    channel = torch.arange(width, dtype=torch.float64)
    angle = torch.arange(count, dtype=torch.float64)[:, None] / 10000.0 ** (2 * (channel // 2) / width)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()
